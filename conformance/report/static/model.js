// What the page knows: the table's rows are the models, the embedded JSON says what they do not show.
// Texts of the records only ever pass through textContent.

export const WORDS = { h: "holds", v: "violated", u: "undecided", n: "not applicable" };
export const RESTS = { p: "proved", m: "measured", o: "observed" };
export const FIRST = 3; // the name, the class and the family come before the claims

const embedded = JSON.parse(document.getElementById("embedded").textContent);
export const { claims, groups, lines } = embedded;
export const table = document.getElementById("cells");

export const families = Array.from(table.tBodies, body => {
  const [head, ...rows] = body.rows;
  return { name: head.cells[0].textContent.trim(), head, rows };
});
export const models = families.flatMap(family => family.rows.map(row => {
  const [name, kind, , ...cells] = Array.from(row.cells);
  return { name: name.textContent, family: family.name, kind: kind.textContent, row, codes: cells.map(cell => cell.className) };
}));
models.forEach((model, place) => {
  model.text = `${model.name} ${model.family} ${model.kind}`.toLowerCase();
  model.facts = embedded.facts[place];
  model.numbers = Object.fromEntries(
    Object.entries(embedded.numbers).map(([name, values]) => [name, [values[place]].flat().filter(Number.isFinite)]));
});
export const byName = new Map(models.map(model => [model.name, model]));
export const byRow = new Map(models.map(model => [model.row, model]));
export const byFamily = new Map(families.map(family => [family.name, family]));

// What a cell says besides its verdict.
export function noteOf(model, place) {
  const number = model.row.cells[place + FIRST].dataset.r;
  const [reason, cause, witness, instead, code] = number === undefined ? [] : embedded.notes[number];
  return { reason: reason || "", cause: cause || "", witness: witness || "", instead, code };
}

const isFault = code => code[0] === "v" || code[0] === "u";
const isBinding = claims.map(([, , level]) => level !== "signal");
export const faults = model => model.codes.filter((code, place) => isFault(code) && isBinding[place]).length;

// What the query bar can ask for.
const lower = text => text.toLowerCase();
const notes = (model, what) => model.codes.map((_, place) => lower(noteOf(model, place)[what])).filter(Boolean);
export const known = {
  claims: claims.map(([id]) => lower(id)),
  families: new Set(families.map(family => lower(family.name))),
  texts: {
    model: model => [lower(model.name)],
    family: model => [lower(model.family)],
    class: model => [lower(model.kind)],
    reason: model => notes(model, "reason"),
    cause: model => notes(model, "cause"),
  },
  flags: new Map([
    ["faultless", model => faults(model) === 0],
    ["faulty", model => faults(model) > 0],
    ["encoder", model => claims.some(([id], place) => id === "pre_logits_supported" && model.codes[place] === "n")],
  ]),
};
