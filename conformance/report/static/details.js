// What a cell, a model or a claim stands for, in words. Texts only ever pass through textContent.

import { RESTS, WORDS, byFamily, byName, claims, lines, models, noteOf } from "./model.js";

const MOST = 400; // names in a list of models

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function prose(text, className = "") {
  const made = element("p", "", className);
  text.split("`").forEach((part, place) => made.append(place % 2 ? element("code", part) : part));
  return made;
}

function link(state, text) {
  const made = element("a", text);
  made.href = `${location.pathname}${location.search}#${new URLSearchParams(state)}`;
  return made;
}

// Code with a button that copies it.
function copyable(code, copy) {
  const made = element("div", "", "copyable");
  const button = element("button", "Copy");
  button.type = "button";
  button.addEventListener("click", () => copy(code, button));
  const text = element("pre", code);
  text.tabIndex = 0; // it may scroll
  made.append(text, button);
  return made;
}

function verdictOf(code) {
  const made = element("p", "", `verdict ${code[0]}`);
  const sign = element("span", { h: "✓", v: "✗", u: "?", n: "–" }[code[0]], "glyph");
  sign.setAttribute("aria-hidden", "true");
  made.append(sign, ` ${WORDS[code[0]]}${code[1] ? ` (${RESTS[code[1]]})` : ""}`);
  return made;
}

// The lines that show it again: what is typed is the page's own but for the names.
function again(model, id) {
  const fill = line => line.replaceAll("MODEL", model.name).replaceAll("CLAIM", id ?? "");
  return (id ? lines.cell : lines.model).map(fill).join("\n");
}

export function ofCell(model, place, copy) {
  const [id, text, level] = claims[place];
  const { reason, cause, witness, instead, code } = noteOf(model, place);
  const parts = [element("h3", `${model.name}: ${id}`), verdictOf(model.codes[place])];
  if (reason) parts.push(element("p", reason, "reason"));
  if (witness) parts.push(element("p", witness, "witness"));
  if (instead) parts.push(element("p", instead), copyable(code, copy));
  parts.push(prose(`Claim (${level}): ${text}`, "quiet"));
  if (cause) {
    const alike = element("p", `Cause ${cause}: `, "quiet");
    alike.append(link({ q: `cause:${cause}` }, "all that fail alike"));
    parts.push(alike);
  }
  const shown = element("p", "", "quiet");
  shown.append(link({ model: model.name }, `All of ${model.name}`), " · ", link({ claim: id }, `All of ${id}`));
  parts.push(shown, element("h4", "See it again"), copyable(again(model, id), copy));
  return parts;
}

export function ofModel(model, copy) {
  const facts = element("dl", "", "facts");
  for (const [name, value] of Object.entries(model.facts)) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    facts.append(pair);
  }
  const list = element("ul", "", "all");
  const order = { v: 0, u: 1, h: 2, n: 3 };
  const places = model.codes.map((_, place) => place)
    .sort((left, right) => order[model.codes[left][0]] - order[model.codes[right][0]] || left - right);
  for (const place of places) {
    const item = element("li");
    const { reason, instead, code } = noteOf(model, place);
    const id = element("code");
    id.append(link({ model: model.name, claim: claims[place][0] }, claims[place][0]));
    item.append(verdictOf(model.codes[place]), id);
    if (reason) item.append(element("span", reason, "reason"));
    if (instead) {
      const remedy = element("details", "", "reason");
      remedy.append(element("summary", instead), copyable(code, copy));
      item.append(remedy);
    }
    list.append(item);
  }
  const near = byFamily.get(model.family).rows.length - 1;
  const neighbours = element("p", "", "quiet");
  neighbours.append(link({ q: `family:"${model.family}"` }, `${near} other ${near === 1 ? "model" : "models"} of ${model.family}`));
  return [
    element("h3", model.name), facts, ...(near ? [neighbours] : []),
    list, element("h4", "See it again"), copyable(again(model), copy),
  ];
}

export function ofClaim(id) {
  const place = claims.findIndex(([name]) => name === id);
  const [, text, level, group] = claims[place];
  const counts = element("ul", "", "all");
  for (const letter of "vunh") {
    const found = models.filter(model => model.codes[place][0] === letter);
    if (!found.length) continue;
    const item = element("li");
    item.append(verdictOf(letter), link({ q: `${id}:${WORDS[letter].replace(" ", "_")}` }, String(found.length)));
    if (letter === "v" || letter === "u") item.append(element("span", names(found), "reason"));
    counts.append(item);
  }
  return [element("h3", id), prose(text), element("p", `${group}, ${level}`, "quiet"), counts];
}

function names(found) {
  const shown = found.slice(0, MOST).map(model => model.name).join(", ");
  return found.length > MOST ? `${shown} and ${found.length - MOST} more` : shown;
}

// The name of a cell for those who point at it.
export function title(model, place) {
  const code = model.codes[place];
  const { reason } = noteOf(model, place);
  return `${claims[place][0]}: ${WORDS[code[0]]}${code[1] ? ` (${RESTS[code[1]]})` : ""}${reason ? `. ${reason}` : ""}`;
}

export const exists = { model: name => byName.has(name), claim: id => claims.some(([known]) => known === id) };
