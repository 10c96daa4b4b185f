// What a cell, a model or a claim stands for, in words. Texts only ever pass through textContent.

import {
  RESTS, WORDS, byFamily, byName, byRow, changesOf, claims, comparedWith, faults, isFault, lines, models, noteOf, noted,
  since, sourceOf,
} from "./model.js";

const MOST = 400; // names in a list of models

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function prose(text, className = "", tag = "p") {
  const made = element(tag, "", className);
  text.split("`").forEach((part, place) => made.append(place % 2 ? element("code", part) : part));
  return made;
}

// A link to another view; what it does not name stays as it is, but for what is looked at.
function link(state, text) {
  const made = element("a", text);
  const aim = () => {
    const told = new URLSearchParams(location.hash.slice(1));
    for (const name of ["model", "claim"]) told.delete(name);
    for (const [name, value] of Object.entries(state)) told.set(name, value);
    made.href = `${location.pathname}${location.search}#${told}`;
  };
  aim();
  made.addEventListener("click", aim); // what is asked may be something else by then
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

function heading(text) {
  const made = element("h3", text);
  made.tabIndex = -1; // it may be given the focus
  return made;
}

function tabled(titles, rows) {
  const made = element("table", "", "small");
  const head = element("tr");
  head.append(...titles.map(title => Object.assign(element("th", title), { scope: "col" })));
  const body = element("tbody");
  for (const parts of rows) {
    const row = element("tr");
    row.append(...parts.map(part => { const cell = element("td"); cell.append(part); return cell; }));
    body.append(row);
  }
  made.append(element("thead"), body);
  made.tHead.append(head);
  return made;
}

const wordsOf = code => `${WORDS[code[0]]}${code[1] ? ` (${RESTS[code[1]]})` : ""}`;

function verdictOf(code, tag = "p") {
  const made = element(tag, "", `verdict ${code[0]}`);
  const sign = element("span", { h: "✓", v: "✗", u: "?", n: "–" }[code[0]], "glyph");
  sign.setAttribute("aria-hidden", "true");
  made.append(sign, ` ${wordsOf(code)}`);
  return made;
}

// A word that a shell takes as it stands.
const inShell = text => (/^[\w.@%+=:,/-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// The lines that show it again: what is typed is the page's own but for the names.
function again(model, id) {
  const names = { MODEL: inShell(model.name), CLAIM: inShell(id ?? "") };
  // A name that begins like an option stands where none is read.
  const ordered = line => (model.name.startsWith("-") && line.includes(" MODEL") ? `${line.replace(" MODEL", "")} -- MODEL` : line);
  const fill = line => ordered(line).replaceAll(/MODEL|CLAIM/g, name => names[name]);
  const [install, ...others] = id ? lines.cell : lines.model;
  return [install, ...others.map(fill)].join("\n"); // what is installed is quoted: nothing is put into it
}

// What a cell says: the verdict, why, what shows it, and what to do instead.
function said({ reason, witness, instead, code: remedy }, copy) {
  const parts = [];
  if (reason) parts.push(element("p", reason, "reason"));
  if (witness) parts.push(element("p", witness, "witness"));
  if (instead) parts.push(element("p", instead), copyable(remedy, copy));
  return parts;
}

export function ofCell(model, place, copy) {
  const [id, text, level] = claims[place];
  const note = noteOf(model, place);
  const parts = [
    heading(`${model.name}: ${id}`), verdictOf(model.codes[place]), ...said(note, copy),
    ...cellsBefore(model, place), prose(`Claim (${level}): ${text}`, "quiet"),
  ];
  if (note.cause) {
    const alike = element("p", `Cause ${note.cause}: `, "quiet");
    alike.append(link({ q: `cause:${note.cause}` }, "all that fail alike"));
    parts.push(alike);
  }
  const shown = element("p", "", "quiet");
  shown.append(link({ model: model.name }, `All of ${model.name}`), " · ", link({ claim: id }, `All of ${id}`));
  parts.push(shown, element("h4", "See it again"), copyable(again(model, id), copy));
  return parts;
}

export function ofModel(model, copy) {
  return [
    heading(model.name), ...where(model), facts(model), element("h4", "Claims"), ...claimsOf(model, copy),
    ...outputs(model), ...historyOf(model), ...neighbours(model),
    element("h4", "See it again"), copyable(again(model), copy),
  ];
}

function where(model) {
  const source = sourceOf(model);
  if (!source) return [];
  const line = element("p", "Registered in ", "quiet");
  if (source.href) {
    const there = element("a", source.text);
    there.href = source.href;
    there.rel = "noreferrer";
    line.append(there);
  } else {
    line.append(element("code", source.text));
  }
  return [line];
}

function facts(model) {
  const list = element("dl", "", "facts");
  for (const [name, value] of Object.entries(model.facts)) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    list.append(pair);
  }
  return list;
}

const CALLS = ["forward_features(x)", "forward_head(…, pre_logits=True)", "model(x)"];
const OUTPUTS = ["features", "pre_logits", "logits"];

function outputs(model) {
  if (!model.outputs.some(Boolean)) return [];
  const rows = OUTPUTS.map((name, place) => [element("code", name), element("code", CALLS[place]), model.outputs[place] || "–"]);
  return [element("h4", "Outputs"), tabled(["output", "of", "shapes"], rows)];
}

// Every claim: those that are broken or undecided at length, the others behind a line that counts them.
function claimsOf(model, copy) {
  const list = element("div", "", "all");
  for (const letter of "vuhn") {
    const items = model.codes.flatMap((code, place) => (code[0] === letter ? [claimOf(model, place, copy)] : []));
    if (!items.length) continue;
    if (isFault(letter)) {
      list.append(...items);
    } else {
      const others = element("details");
      others.append(element("summary", `${WORDS[letter]}: ${items.length} ${items.length === 1 ? "claim" : "claims"}`), ...items);
      list.append(others);
    }
  }
  return [list];
}

function claimOf(model, place, copy) {
  const [id, text, level] = claims[place];
  const code = model.codes[place];
  const item = element("details");
  item.open = isFault(code);
  const summary = element("summary");
  summary.append(verdictOf(code, "span"), element("code", id));
  const more = element("p", `${level} · `, "quiet");
  more.append(link({ model: model.name, claim: id }, "this cell"));
  item.append(summary, prose(text, "quiet"), ...said(noteOf(model, place), copy), more);
  return item;
}

// In earlier runs.
const FATES = {
  p: "the same, proved", m: "the same, measured", d: "drifted", u: "computed otherwise, or not known", a: "was not there",
};

function historyOf(model) {
  if (!since.length) return [];
  const rows = since.map(one => {
    const { told } = changesOf(model, one);
    const fates = one.outputs[model.place];
    const said = element("ul");
    if (fates) {
      const alike = new Map();
      OUTPUTS.forEach((name, place) => alike.set(fates[place], [...alike.get(fates[place]) ?? [], name]));
      for (const [fate, names] of alike) if ("pm".includes(fate)) said.append(element("li", `${names.join(", ")}: ${FATES[fate]}`));
    }
    for (const [kind, what, ...detail] of told) {
      const line = element("li");
      line.append(element("b", kind), " ", prose(what, "", "span"), ...detail.flatMap(text => [element("br"), text]));
      said.append(line);
    }
    if (fates && !told.length) said.append(element("li", "no claim changed"));
    if (!fates && !told.length) said.append(element("li", "was not compared"));
    return [one.name, said];
  });
  return [element("h4", "Since earlier runs"), tabled(["since", "what changed"], rows)];
}

function cellsBefore(model, place) {
  return since.flatMap(one => changesOf(model, one).cells.filter(([claim]) => claim === place).map(([, code, note]) => {
    const { reason } = noted(note);
    return element("p", `In ${one.name}: ${wordsOf(code)}${reason ? `. ${reason}` : ""}`, "before");
  }));
}

// The models of the family that are nearest in size, and what is wrong with each.
const NEAR = 8;
function neighbours(model) {
  const family = byFamily.get(model.family).rows.map(row => byRow.get(row)).filter(other => other !== model);
  if (!family.length) return [];
  const size = other => other.numbers.params[0] ?? Infinity;
  const apart = other => Math.abs(Math.log(size(other) / size(model)));
  const near = [...family].sort((left, right) => apart(left) - apart(right)).slice(0, NEAR).sort((left, right) => size(left) - size(right));
  const rows = near.map(other => [
    link({ model: other.name }, other.name), other.facts.parameters ?? "–", faults(other) ? `✗ ${faults(other)}` : "✓ none",
  ]);
  const all = element("p", "", "quiet");
  all.append(link({ q: `family:"${model.family}"` }, `All ${family.length + 1} models of ${model.family}`));
  return [element("h4", "Neighbours in the family"), tabled(["model", "parameters", "faults"], rows), all];
}

export function ofClaim(id) {
  const place = claims.findIndex(([name]) => name === id);
  const [, text, level, group, why, source, needs] = claims[place];
  const parts = [heading(id), prose(text), element("p", `${group}, ${level}`, "quiet")];
  if (why) parts.push(element("h4", "Why it matters"), prose(why));
  if (source) parts.push(element("p", `Promised by: ${source}`, "quiet"));
  const counts = element("ul", "", "counts");
  for (const letter of "vuhn") {
    const found = models.filter(model => model.codes[place][0] === letter);
    if (!found.length) continue;
    const item = element("li");
    item.append(verdictOf(letter, "span"), " ", link({ q: `${id}:${WORDS[letter].replace(" ", "_")}` }, ofModels(found.length)));
    counts.append(item);
  }
  parts.push(element("h4", "Verdicts"), counts);
  const sorting = element("p", "", "quiet");
  sorting.append(link({ order: id }, "Order the table by this claim"));
  for (const need of needs) sorting.append(" · needs ", link({ claim: need }, need));
  return [...parts, sorting, ...causesOf(id, place), ...changesOfClaim(place)];
}

function causesOf(id, place) {
  const groups = new Map();
  for (const model of models) {
    if (!isFault(model.codes[place])) continue;
    const { cause, reason } = noteOf(model, place);
    const key = `${model.codes[place][0]} ${cause || reason}`;
    if (!groups.has(key)) groups.set(key, { cause, reason, code: model.codes[place], found: [] });
    groups.get(key).found.push(model);
  }
  if (!groups.size) return [];
  const list = element("ol", "", "causes-of");
  for (const { cause, reason, code, found } of [...groups.values()].sort((left, right) => right.found.length - left.found.length)) {
    const item = element("li");
    const alike = element("p", "", "quiet");
    alike.append(cause ? link({ q: `${id}:${WORDS[code[0]]} cause:${cause}` }, ofModels(found.length)) : ofModels(found.length), `: ${names(found)}`);
    item.append(verdictOf(code), element("p", reason, "reason"), alike);
    list.append(item);
  }
  return [element("h4", "Causes"), list];
}

function changesOfClaim(place) {
  return since.flatMap(one => {
    const found = models.filter(model => changesOf(model, one).cells.some(([claim]) => claim === place));
    if (!found.length) return [];
    return [element("h4", `Since ${one.name}`), element("p", `${ofModels(found.length)} had another verdict: ${names(found)}`, "quiet")];
  });
}

const ofModels = number => (number === 1 ? "1 model" : `${number} models`);

function names(found) {
  const shown = found.slice(0, MOST).map(model => model.name).join(", ");
  return found.length > MOST ? `${shown} and ${found.length - MOST} more` : shown;
}

// Names of models in the page's own text become links to them.
export function linkNames(text) {
  const parts = text.textContent.trim().split(", ").map(name => (byName.has(name) ? link({ model: name }, name) : name));
  text.replaceChildren(...parts.flatMap((part, place) => (place ? [", ", part] : [part])));
}

// The name of a cell for those who point at it.
export function title(model, place) {
  const { reason } = noteOf(model, place);
  const one = comparedWith();
  const before = changesOf(model, one).cells.find(([claim]) => claim === place);
  const was = before ? ` (${wordsOf(before[1])} in ${one.name})` : "";
  return `${claims[place][0]}: ${wordsOf(model.codes[place])}${was}${reason ? `. ${reason}` : ""}`;
}

export const exists = { model: name => byName.has(name), claim: id => claims.some(([known]) => known === id) };
