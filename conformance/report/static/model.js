// What the page knows: the table's rows are the models, the embedded JSON says what they do not show.
// Texts of the records only ever pass through textContent.

export const WORDS = { h: "holds", v: "violated", u: "undecided", n: "not applicable" };
export const RESTS = { p: "proved", m: "measured", o: "observed" };
export const FIRST = 3; // the name, the class and the family come before the claims

const embedded = JSON.parse(document.getElementById("embedded").textContent);
export const { claims, groups, lines, since, kinds } = embedded;
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
  model.place = place;
  model.facts = embedded.facts[place];
  model.outputs = embedded.outputs[place].map(shape => embedded.shapes[shape]);
  model.numbers = Object.fromEntries(
    Object.entries(embedded.numbers).map(([name, values]) => [name, [values[place]].flat().filter(Number.isFinite)]));
});
export const byName = new Map(models.map(model => [model.name, model]));
export const byRow = new Map(models.map(model => [model.row, model]));
export const byFamily = new Map(families.map(family => [family.name, family]));

// What a cell says besides its verdict.
export function noteOf(model, place) {
  return noted(model.row.cells[place + FIRST].dataset.r ?? null);
}

export function noted(number) {
  const [reason, cause, witness, instead, code] = number === null ? [] : embedded.notes[number];
  return { reason: reason || "", cause: cause || "", witness: witness || "", instead, code };
}

// Where timm registers the model: { text, href }, the latter where it is known.
export function sourceOf(model) {
  const [file, line] = embedded.sources[model.place] ?? [];
  if (file === undefined) return null;
  const path = embedded.files[file];
  const isTimms = embedded.repository !== null && /^timm(\/\w+)+\.py$/.test(path) && /^\d+$/.test(line);
  return { text: `${path}:${line}`, href: isTimms ? `${embedded.repository}${path}#L${line}` : null };
}

// What changed since an earlier run: sentences as [kind, what, ...detail], and claims that had another verdict.
export function changesOf(model, one) {
  const { told, cells } = one?.changes[model.place] ?? { told: [], cells: [] };
  return { told: told.map(number => one.sentences[number]).map(([kind, ...said]) => [kinds[kind], ...said]), cells };
}

let compared = since[0] ?? null;
export const comparedWith = () => compared;
export function compareWith(name) {
  compared = since.find(one => one.name === name) ?? since[0] ?? null;
}
const isOfKind = (model, kind) => changesOf(model, compared).told.some(([found]) => found === kind);

export const isFault = code => code[0] === "v" || code[0] === "u";
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
    ...since.length === 0 ? [] : [
      ["changed", model => compared.changes[model.place] !== undefined],
      ...kinds.filter(kind => kind !== "removed").map(kind => [kind, model => isOfKind(model, kind)]),
    ],
    ["encoder", model => model.kind !== "" && claims.some(([id], place) => id === "pre_logits_supported" && model.codes[place] === "n")],
  ]),
};
