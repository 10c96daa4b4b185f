"use strict";
// The table is the data: this script filters its rows and says in words what a cell stands for.
// Texts of the records only ever pass through textContent.
const { claims, notes, facts } = JSON.parse(document.getElementById("embedded").textContent);
const verdicts = { h: "holds", v: "violated", u: "undecided", n: "not applicable" };
const evidences = { p: "proved", m: "measured", o: "observed" };
const firstClaim = 3; // model, module and class come before
const table = document.getElementById("cells");
const rows = Array.from(table.tBodies[0].rows);
const texts = rows.map(row =>
  Array.from(row.cells).slice(0, firstClaim).map(cell => cell.textContent).join(" ").toLowerCase());
const words = document.getElementById("words");
const claim = document.getElementById("claim");
const verdict = document.getElementById("verdict");
const details = document.getElementById("details");
const said = document.getElementById("said");
const form = document.querySelector(".filter");

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const column = claim.selectedIndex - 1;
  let shown = 0;
  rows.forEach((row, place) => {
    const cells = row.cells;
    let visible = wanted.every(word => texts[place].includes(word));
    if (visible && verdict.value) {
      visible = column >= 0
        ? cells[column + firstClaim].className.startsWith(verdict.value)
        : row.querySelector(`[class^=${verdict.value}]:not(.t)`) !== null;
    }
    if (row.hidden === visible) row.hidden = !visible;
    shown += visible;
  });
  document.getElementById("shown").textContent =
    shown === rows.length ? `${shown} models` : `${shown} of ${rows.length} models`;
  document.querySelector(".none").hidden = shown > 0;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function prose(text) {
  const made = element("p", "", "quiet");
  text.split("`").forEach((part, place) => made.append(place % 2 ? element("code", part) : part));
  return made;
}

function verdictOf(cell) {
  const [letter, evidence] = cell.className;
  const made = element("p", "", `verdict ${letter}`);
  const glyph = element("span", cell.textContent.trim(), "glyph");
  glyph.setAttribute("aria-hidden", "true");
  made.append(glyph, ` ${verdicts[letter]}${evidence ? ` (${evidences[evidence]})` : ""}`);
  return made;
}

function noteOf(cell) {
  return cell.dataset.r === undefined ? ["", "", ""] : notes[cell.dataset.r];
}

function sayCell(row, cell) {
  const [id, text, level] = claims[cell.cellIndex - firstClaim];
  const [reason, cause, witness, instead, code] = noteOf(cell);
  const parts = [element("h3", `${row.cells[0].textContent}: ${id}`), verdictOf(cell)];
  if (reason) parts.push(element("p", reason, "reason"));
  if (witness) parts.push(element("p", witness, "witness"));
  if (instead) parts.push(element("p", instead), element("pre", code));
  parts.push(prose(`Claim (${level}): ${text}`));
  if (cause) parts.push(element("p", `Cause ${cause}`, "quiet"));
  said.replaceChildren(...parts);
}

function sayModel(row) {
  const known = document.createElement("dl");
  known.className = "facts";
  for (const [name, value] of Object.entries(facts[rows.indexOf(row)])) {
    const pair = document.createElement("div");
    pair.append(element("dt", name), element("dd", value));
    known.append(pair);
  }
  const list = document.createElement("ul");
  list.className = "all";
  const isFault = cell => /^[vu]/.test(cell.className);
  const cells = Array.from(row.cells).slice(firstClaim);
  for (const cell of [...cells.filter(isFault), ...cells.filter(cell => !isFault(cell))]) {
    const [id] = claims[cell.cellIndex - firstClaim];
    const item = document.createElement("li");
    item.append(verdictOf(cell), element("code", id));
    const [reason, , , instead] = noteOf(cell);
    if (reason) item.append(element("span", reason, "reason"));
    if (instead) item.append(element("span", instead, "reason"));
    list.append(item);
  }
  said.replaceChildren(element("h3", row.cells[0].textContent), known, list);
}

function say(cell) {
  if (cell.cellIndex < firstClaim) sayModel(cell.parentElement);
  else sayCell(cell.parentElement, cell);
  details.hidden = false;
  details.scrollTop = 0;
}

let current = null;
function select(cell) {
  if (current) {
    current.removeAttribute("aria-current");
    current.tabIndex = -1;
  }
  current = cell;
  cell.setAttribute("aria-current", "true");
  cell.tabIndex = 0;
}

function bodyCell(node) {
  const cell = node.closest("td, th");
  return cell && cell.closest("tbody") ? cell : null;
}

function neighbour(cell, key) {
  const row = cell.parentElement;
  const last = row.cells.length - 1;
  const before = cell.cellIndex === firstClaim ? 0 : cell.cellIndex - 1;
  const after = cell.cellIndex === 0 ? firstClaim : Math.min(cell.cellIndex + 1, last);
  const across = { ArrowLeft: Math.max(before, 0), ArrowRight: after, Home: 0, End: last };
  if (key in across) return row.cells[across[key]];
  const step = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[key];
  if (!step) return null;
  let next = row[step];
  while (next && next.hidden) next = next[step];
  return next ? next.cells[cell.cellIndex] : null;
}

table.addEventListener("click", event => {
  const cell = bodyCell(event.target);
  if (!cell) return;
  select(cell);
  cell.focus({ preventScroll: true });
  say(cell);
});
table.addEventListener("keydown", event => {
  const cell = bodyCell(event.target);
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    say(cell);
    return;
  }
  const next = neighbour(cell, event.key);
  if (!next) return;
  event.preventDefault();
  select(next);
  next.focus();
  if (!details.hidden) say(next);
});
table.addEventListener("mouseover", event => {
  const cell = bodyCell(event.target);
  if (!cell || cell.cellIndex < firstClaim || cell.title) return;
  const [letter, evidence] = cell.className;
  const [reason] = noteOf(cell);
  cell.title = `${claims[cell.cellIndex - firstClaim][0]}: ${verdicts[letter]}`
    + (evidence ? ` (${evidences[evidence]})` : "") + (reason ? `. ${reason}` : "");
});
function close() {
  details.hidden = true;
  if (current) current.focus({ preventScroll: true });
}
document.getElementById("close").addEventListener("click", close);
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !details.hidden) close();
});
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
form.hidden = false;
document.querySelector(".hint").hidden = false;
if (rows.length) select(rows[0].cells[0]);
current?.removeAttribute("aria-current");
filter(); // a reloaded page keeps what was typed
