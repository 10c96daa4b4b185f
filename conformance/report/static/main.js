// The page's state is its address: what is asked, in which order, what is unfolded, what is looked at.

import { FIRST, byName, byRow, claims, compareWith, comparedWith, families, groups, known, models, since, table } from "./model.js";
import { isAsked, toggled, understand } from "./query.js";
import { begin, counted, firstCell, hide, layOutAll, mark, neighbourOf, show } from "./matrix.js";
import { exists, linkNames, ofCell, ofClaim, ofModel, title } from "./details.js";
import { FORMS, copy } from "./copy.js";

const at = id => document.getElementById(id);
const form = at("query");
const asked = at("q");
const order = at("order");
const details = at("details");
const earlier = at("since"); // absent where no earlier run is known
const state = { q: "", order: "family", since: "", open: new Set(), model: "", claim: "", hide: new Set() };
const ALL = "*"; // in the address: every family is unfolded
const isAllOpen = () => families.length > 1 && state.open.size === families.length;
let shown = models;
let shut = new Set(); // families that were folded while something is asked
let opener = null; // where details were opened from, if not in the table

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  state.q = given.get("q") ?? "";
  state.order = given.get("order") ?? "family";
  compareWith(given.get("since"));
  state.since = comparedWith()?.name ?? "";
  state.open = new Set(given.get("open") === ALL ? families.map(family => family.name) : given.getAll("open"));
  state.hide = new Set(given.getAll("hide"));
  state.model = exists.model(given.get("model")) ? given.get("model") : "";
  state.claim = exists.claim(given.get("claim")) ? given.get("claim") : "";
}

function write() {
  const told = new URLSearchParams();
  for (const name of ["q", "model", "claim"]) if (state[name]) told.set(name, state[name]);
  if (state.order !== "family") told.set("order", state.order);
  if (state.since && state.since !== since[0].name) told.set("since", state.since);
  for (const name of isAllOpen() ? [ALL] : state.open) told.append("open", name);
  for (const name of state.hide) told.append("hide", name);
  const hash = String(told);
  if (location.hash.slice(1) !== hash) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function render() {
  const focused = document.activeElement;
  const question = understand(state.q, known);
  shown = show({ matches: question.matches, isAsked: !question.isEmpty, order: state.order, open: state.open, shut });
  at("unfold").textContent = isAllOpen() ? "Fold all" : "Unfold all";
  at("shown").textContent = counted(shown.length, models.length);
  at("problem").textContent = question.problems.join(" ");
  document.querySelector(".none").hidden = shown.length > 0;
  for (const chip of form.querySelectorAll("[data-ask]")) {
    chip.setAttribute("aria-pressed", String(isAsked(state.q, chip.dataset.ask)));
  }
  select(current && current.isConnected ? current : firstCell(), false);
  // What was laid out anew has lost the focus.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// The model that is looked at, and the place of the claim, or -1.
function looked() {
  return { model: byName.get(state.model), place: claims.findIndex(([id]) => id === state.claim) };
}

function say() {
  const { model, place } = looked();
  const parts = model ? (place < 0 ? ofModel(model, copy) : ofCell(model, place, copy)) : place < 0 ? [] : ofClaim(state.claim);
  const isInside = details.contains(document.activeElement);
  at("said").replaceChildren(...parts);
  details.hidden = !parts.length;
  details.scrollTop = 0;
  document.body.classList.toggle("looking", parts.length > 0);
  if (model && byRow.get(current?.parentElement) === model) {
    current.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
  }
  at("told").textContent = parts.length ? `Details of ${at("said").querySelector("h3").textContent}` : "";
  if (isInside) goThere();
}

// Whatever the address says, the controls and the table say too.
function follow() {
  read();
  asked.value = state.q;
  setOrder();
  if (earlier) earlier.value = state.since;
  mark(comparedWith());
  for (const box of form.querySelectorAll("[data-group]")) box.checked = !state.hide.has(box.dataset.group);
  hideColumns();
  render();
  say();
}

function hideColumns() {
  hide(groups.map((group, place) => ({ ...group, place })).filter(group => state.hide.has(group.name)));
}

// The table may be in the order of a claim, which the list does not offer on its own.
function setOrder() {
  order.querySelector("[data-claim]")?.remove();
  if (exists.claim(state.order)) {
    const made = new Option(`by ${state.order}`, state.order);
    made.dataset.claim = "";
    order.append(made);
  }
  order.value = state.order;
  if (order.selectedIndex < 0) order.value = state.order = "family";
}

function look(model, claim) {
  Object.assign(state, { model, claim });
  write();
  say();
}

// One cell of the table takes the focus; the arrow keys move it.
let current = null;
function select(cell, isLookedAt = true) {
  if (current) {
    current.removeAttribute("aria-current");
    current.tabIndex = -1;
  }
  current = cell;
  if (!cell) return;
  if (isLookedAt) cell.setAttribute("aria-current", "true");
  cell.tabIndex = 0;
  const model = byRow.get(cell.parentElement);
  // A sign alone says little to those who hear it.
  if (model && cell.cellIndex >= FIRST) cell.setAttribute("aria-label", title(model, cell.cellIndex - FIRST));
}

function bodyCell(node) {
  const cell = node.closest("td, th");
  return cell && cell.closest("tbody") && !cell.closest(".rest") ? cell : null;
}

function neighbour(cell, key) {
  const row = cell.parentElement;
  const last = row.cells.length - 1;
  const isName = cell.cellIndex < FIRST;
  const isShown = place => row.cells[place].getClientRects().length > 0; // columns may be left out
  const along = (place, step) => {
    for (let next = place + step; next >= FIRST && next <= last; next += step) if (isShown(next)) return next;
    return step < 0 ? 0 : place;
  };
  const across = {
    ArrowLeft: isName ? 0 : along(cell.cellIndex, -1),
    ArrowRight: along(isName ? FIRST - 1 : cell.cellIndex, 1),
    Home: 0, End: along(last + 1, -1),
  };
  if (key in across) return row.cells[Math.max(across[key], 0)];
  const step = { ArrowUp: -1, ArrowDown: 1 }[key];
  return (step && neighbourOf(row, step)?.cells[isName ? 0 : cell.cellIndex]) || null;
}

function pick(cell) {
  const row = cell.parentElement;
  const place = cell.cellIndex - FIRST;
  const model = byRow.get(row);
  if (model) {
    const claim = place < 0 ? "" : claims[place][0];
    opener = null;
    if (state.model === model.name && state.claim === claim) goThere();
    else look(model.name, claim);
    return;
  }
  const family = families.find(one => one.head === row);
  if (place < 0) unfold(family.name);
  else ask(`family:"${family.name}"${/^[vu]/.test(cell.className) ? ` ${claims[place][0]}:violated,undecided` : ""}`);
}

function goThere() {
  at("said").querySelector("h3")?.focus();
}

function unfold(name) {
  const names = understand(state.q, known).isEmpty ? state.open : shut;
  if (!names.delete(name)) names.add(name);
  write();
  render();
}

function ask(text) {
  shut = new Set();
  state.q = asked.value = text;
  write();
  render();
}

begin(unfold);
table.addEventListener("click", event => {
  const cell = bodyCell(event.target);
  if (!cell || event.target.closest("button")) return;
  select(cell);
  cell.focus({ preventScroll: true });
  pick(cell);
});
table.tHead.addEventListener("click", event => {
  const head = event.target.closest("a");
  if (!head || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  opener = head;
  look("", head.textContent);
  goThere();
});
table.addEventListener("keydown", event => {
  const cell = bodyCell(event.target);
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
  if ((event.key === "Enter" || event.key === " ") && !event.target.closest("button")) {
    event.preventDefault();
    pick(cell);
    return;
  }
  const next = neighbour(cell, event.key);
  if (!next) return;
  event.preventDefault();
  select(next);
  next.focus();
  if (!details.hidden && byRow.has(next.parentElement)) look(byRow.get(next.parentElement).name, claims[next.cellIndex - FIRST]?.[0] ?? "");
});
table.addEventListener("mouseover", event => {
  const cell = bodyCell(event.target);
  const model = cell && byRow.get(cell.parentElement);
  if (model && cell.cellIndex >= FIRST) cell.title = title(model, cell.cellIndex - FIRST);
});
// Back to where the details were opened from: a link, or the cell of the table that they are about.
function close() {
  const { model, place } = looked();
  look("", "");
  if (!opener && model?.row.isConnected) select(model.row.cells[place < 0 ? 0 : place + FIRST]);
  const target = opener?.isConnected ? opener : current;
  opener = null;
  target?.focus();
}
at("close").addEventListener("click", close);
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !details.hidden) {
    event.preventDefault(); // it would also empty the question
    if (event.target === asked) look("", "");
    else close();
  } else if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    asked.focus();
  }
});
asked.addEventListener("input", () => ask(asked.value));
order.addEventListener("change", () => {
  state.order = order.value;
  write();
  setOrder();
  render();
});
earlier?.addEventListener("change", () => {
  compareWith(earlier.value);
  state.since = earlier.value;
  write();
  mark(comparedWith());
  render();
  say();
});
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", event => {
  event.preventDefault();
  state.open.clear();
  ask("");
});
form.addEventListener("click", event => {
  const chip = event.target.closest("[data-ask]");
  if (chip) ask(toggled(state.q, chip.dataset.ask));
  const button = event.target.closest("[data-copy]");
  if (button) copy(FORMS[button.dataset.copy](shown), button);
});
form.addEventListener("change", event => {
  const group = event.target.dataset.group;
  if (group === undefined) return;
  if (event.target.checked) state.hide.delete(group);
  else state.hide.add(group);
  write();
  hideColumns();
});
at("unfold").addEventListener("click", () => {
  state.open = isAllOpen() ? new Set() : new Set(families.map(family => family.name));
  write();
  render();
});
// A list of names is made into links when it is opened; a single name is when the page is.
document.addEventListener("toggle", event => {
  const names = event.target.open && event.target.querySelector(":scope > .names");
  if (names) linkNames(names);
}, true);
document.querySelectorAll("td > .names").forEach(linkNames);
window.addEventListener("beforeprint", layOutAll);
// A link to a section is no view: it leaves what is asked as it is.
document.addEventListener("click", event => {
  const section = at(event.target.closest("nav a")?.hash.slice(1));
  if (!section) return;
  event.preventDefault();
  section.tabIndex = -1;
  section.focus({ preventScroll: true });
  section.scrollIntoView();
});
window.addEventListener("hashchange", () => {
  const from = document.activeElement;
  const isLink = from.matches("a");
  if (isLink && !details.contains(from)) opener = from;
  follow();
  if (isLink && !details.hidden) goThere();
  else if (document.activeElement === document.body) asked.focus();
});
form.hidden = false;
document.querySelector(".hint").hidden = false;
follow();
