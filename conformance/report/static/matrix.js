// The matrix: families that unfold into their models, or models in another order; rows are added as one scrolls.

import { FIRST, changesOf, claims, faults, families, models, table } from "./model.js";

const AT_ONCE = 50; // rows: what is laid out while one types
const body = document.createElement("tbody");
const rest = document.createElement("tr"); // the end of what is laid out: more comes when it is seen
rest.className = "rest";
rest.append(document.createElement("td"));
rest.firstChild.colSpan = FIRST + claims.length;

const ORDERS = {
  model: (left, right) => left.name.localeCompare(right.name, "en"),
  params: (left, right) => (left.numbers.params[0] ?? Infinity) - (right.numbers.params[0] ?? Infinity),
  embedding: (left, right) => (left.numbers.embedding[0] ?? Infinity) - (right.numbers.embedding[0] ?? Infinity),
  faults: (left, right) => faults(right) - faults(left),
};

const WORST = { v: 0, u: 1, h: 2, n: 3 };

// By what models are put in order: one of the above, or a claim, those first that break it. Null: by family.
function ordering(order) {
  const place = claims.findIndex(([id]) => id === order);
  if (place < 0) return Object.hasOwn(ORDERS, order) ? ORDERS[order] : null;
  return (left, right) => WORST[left.codes[place][0]] - WORST[right.codes[place][0]];
}

let rows = [];
let laidOut = 0;

// Shows the models that match; gives them in their order. Without a question, families stay folded unless they are `open`.
export function show({ matches, isAsked, order, open, shut }) {
  const shown = models.filter(matches);
  const compare = ordering(order);
  if (compare) {
    rows = shown.sort(compare).map(model => model.row);
  } else {
    const wanted = new Map(families.map(family => [family.name, []]));
    for (const model of shown) wanted.get(model.family).push(model.row);
    rows = families.filter(family => wanted.get(family.name).length).flatMap(family => {
      const found = wanted.get(family.name);
      const isOpen = isAsked ? !shut.has(family.name) : open.has(family.name);
      family.button.setAttribute("aria-expanded", String(isOpen));
      family.count.textContent = counted(found.length, family.rows.length);
      return isOpen ? [family.head, ...found] : [family.head];
    });
  }
  table.classList.toggle("flat", compare !== null);
  for (const head of table.querySelectorAll(".ids th")) {
    const told = { model: "ascending" }[head.dataset.sorted] ?? "other";
    if (head.dataset.sorted === order) head.setAttribute("aria-sort", told);
    else head.removeAttribute("aria-sort");
  }
  laidOut = 0;
  body.replaceChildren();
  extend();
  return shown;
}

export function counted(some, all) {
  const noun = all === 1 ? "model" : "models";
  return some === all ? `${all} ${noun}` : `${some} of ${all} ${noun}`;
}

function extend() {
  rest.remove();
  body.append(...rows.slice(laidOut, laidOut + AT_ONCE));
  laidOut = Math.min(laidOut + AT_ONCE, rows.length);
  if (laidOut < rows.length) body.append(rest);
}

// All rows: paper does not scroll.
export function layOutAll() {
  while (laidOut < rows.length) extend();
}

// The row after or before another, laid out if it was not.
export function neighbourOf(row, step) {
  const place = rows.indexOf(row) + step;
  while (place >= laidOut && laidOut < rows.length) extend();
  return rows[place] ?? null;
}

export function firstCell() {
  return rows.length ? rows[0].cells[0] : null;
}

// A family's name becomes a button that unfolds it.
export function begin(unfold) {
  for (const family of families) {
    const name = family.head.cells[0];
    family.button = document.createElement("button");
    family.button.type = "button";
    family.button.className = "fold";
    family.button.textContent = family.name;
    family.button.addEventListener("click", () => unfold(family.name));
    family.count = family.head.cells[1];
    name.replaceChildren(family.button);
  }
  for (const old of Array.from(table.tBodies)) old.remove();
  table.append(body);
  new IntersectionObserver(seen => seen.some(entry => entry.isIntersecting) && extend(), {
    root: table.closest(".scroll"), rootMargin: "400px",
  }).observe(rest);
}

// Marks what another verdict was given of than in the earlier run that is compared with.
export function mark(one) {
  for (const model of models) {
    model.row.classList.toggle("changed", one !== null && one.changes[model.place] !== undefined);
    for (const cell of model.row.querySelectorAll(".c")) cell.classList.remove("c");
    for (const [place] of changesOf(model, one).cells) model.row.cells[place + FIRST].classList.add("c");
  }
}

// Columns of a group of claims that are not wanted.
const sheet = document.styleSheets[0];
let hiding = 0;
export function hide(groups) {
  while (hiding) sheet.deleteRule(sheet.cssRules.length - 1), hiding -= 1;
  for (const { from, until, place } of groups) {
    const columns = `:nth-child(n+${FIRST + from + 1}):nth-child(-n+${FIRST + until})`;
    for (const rule of [
      `#cells tr:not(.groups):not(.rest) > ${columns} { display: none; }`,
      `#cells .groups > :nth-child(${FIRST + place + 1}) { display: none; }`,
      `#cells > colgroup:nth-of-type(${place + 2}) { display: none; }`,
    ]) sheet.insertRule(rule, sheet.cssRules.length), hiding += 1;
  }
}
