// What is typed into the query bar, understood: words and fields, all of which a model must match.
//
//   vit "so400m" -siglip          words in the name, the family (timm's module) or the class; - or `not` excludes
//   family:resnet class:ResNet*   text fields; * stands for anything
//   params<30M width:768          numbers, with k, M or G; also size:200..300
//   scripts:holds exports:violated,undecided
//   any:violated                  of any claim
//   is:faultless is:encoder
//   vgg or resnet                 either side of `or`
//
// `understand` gives { matches, problems }: what is not understood is said and left out.

export const VERDICTS = { holds: "h", violated: "v", undecided: "u", not_applicable: "n", na: "n" };
export const EVIDENCE = { proved: "p", measured: "m", observed: "o" };
export const TEXTS = ["model", "family", "class", "reason", "cause"];
export const NUMBERS = ["params", "width", "embedding", "size"];

const UNITS = { "": 1, k: 1e3, m: 1e6, g: 1e9, b: 1e9 };
const TERM = /(-?)(?:([\w-]+)(:|<=|>=|<|>|=))?("[^"]*"?|\S+)/g;

export function understand(text, known) {
  const problems = [];
  const alternatives = [[]];
  let isNegated = false;
  for (const found of text.toLowerCase().matchAll(TERM)) {
    const [, minus, field, sign, raw] = found;
    const value = raw.replace(/^"|"$/g, "");
    const isWord = field === undefined && !raw.startsWith('"');
    if (isWord && value === "or") {
      alternatives.push([]);
    } else if (isWord && value === "not") {
      isNegated = true;
    } else {
      const isQuoted = raw.startsWith('"');
      const test = field === undefined
        ? word(value, isQuoted, known, problems) : fielded(field, sign, value, isQuoted, known, problems);
      const excludes = isNegated !== (minus === "-");
      if (test) alternatives.at(-1).push(excludes ? model => !test(model) : test);
      isNegated = false;
    }
  }
  const asked = alternatives.filter(tests => tests.length);
  return {
    matches: asked.length ? model => asked.some(tests => tests.every(test => test(model))) : () => true,
    isEmpty: !asked.length,
    problems,
  };
}

function word(value, isQuoted, known, problems) {
  if (isQuoted) return model => model.text.includes(value);
  const begun = /^-?([\w-]+)(?::|[<>]=?|=)$/.exec(value);
  if (begun) problems.push(`${begun[1]} is asked for nothing: write what it should be, as in ${begun[0]}…`);
  else if (known.claims.includes(value)) problems.push(`${value} is a claim: ask ${value}:holds or ${value}:violated.`);
  else if (value.includes("*")) return globbed(value, model => model.text.split(" "));
  else if (value !== "-") return model => model.text.includes(value);
  return null;
}

// Part after part, and never back: an expression made of it could take seconds.
function globbed(value, textsOf) {
  const [first, ...others] = value.split("*");
  const last = others.pop();
  const fits = text => {
    let at = first.length;
    if (!text.startsWith(first)) return false;
    for (const part of others) {
      const place = text.indexOf(part, at);
      if (place < 0) return false;
      at = place + part.length;
    }
    return text.length - last.length >= at && text.endsWith(last);
  };
  return model => textsOf(model).some(fits);
}

// A question as its sides of `or`, each as its terms.
const sides = text => {
  const found = [[]];
  for (const term of text.match(/[^\s"]*"[^"]*"?|\S+/g) ?? []) {
    if (term.toLowerCase() === "or") found.push([]);
    else found.at(-1).push(term);
  }
  return found;
};

// Whether every side of a question asks for a term; and the question with the term added to each, or taken away.
export const isAsked = (text, term) => sides(text).every(terms => terms.includes(term));
export function toggled(text, term) {
  const without = sides(text).map(terms => terms.filter(one => one !== term));
  return (isAsked(text, term) ? without : without.map(terms => [...terms, term])).map(terms => terms.join(" ")).join(" or ");
}

function fielded(field, sign, value, isQuoted, known, problems) {
  if (NUMBERS.includes(field)) return number(field, sign, value, problems);
  if (sign !== ":" && sign !== "=") {
    problems.push(`${field} is no number: ask with ${field}:${value}.`);
    return null;
  }
  if (TEXTS.includes(field)) return textual(field, isQuoted ? [value] : value.split(",").filter(Boolean), known);
  if (field === "is") {
    const flag = known.flags.get(value);
    if (!flag && value === "removed") problems.push("Models that are not in this run stand under Changes.");
    else if (!flag) problems.push(`Nothing is called is:${value}.${nearest(value, known.flags.keys(), "is:")}`);
    return flag || null;
  }
  const places = field === "any" ? known.claims.map((_, place) => place) : [known.claims.indexOf(field)];
  if (places[0] === -1) {
    const names = [...TEXTS, ...NUMBERS, "any", "is", ...known.claims];
    problems.push(`No field or claim is called ${field}.${nearest(field, names)}`);
    return null;
  }
  return claimed(places, value, problems);
}

function claimed(places, value, problems) {
  const wanted = [];
  for (const one of value.split(",").filter(Boolean)) {
    if (Object.hasOwn(VERDICTS, one)) wanted.push(code => code[0] === VERDICTS[one]);
    else if (Object.hasOwn(EVIDENCE, one)) wanted.push(code => code[1] === EVIDENCE[one]);
    else {
      problems.push(`${one} is no verdict: holds, violated, undecided, na; or proved, measured, observed.`);
    }
  }
  return wanted.length ? model => places.some(place => wanted.some(is => is(model.codes[place]))) : null;
}

function textual(field, values, known) {
  const tests = values.map(value => {
    if (value.includes("*")) return globbed(value, known.texts[field]);
    const isName = field === "family" && known.families.has(value);
    return model => known.texts[field](model).some(text => (isName ? text === value : text.includes(value)));
  });
  return model => tests.some(test => test(model));
}

function number(field, sign, value, problems) {
  const [low, high = null] = value.split("..");
  const from = amount(low);
  const to = high === null ? from : amount(high);
  if (from === null || to === null || (high !== null && sign !== ":" && sign !== "=")) {
    problems.push(`${field}${sign}${value} is no number: ask like ${field}<30M, ${field}:768 or ${field}:200..300.`);
    return null;
  }
  const tests = {
    "<": known => known < from, "<=": known => known <= from, ">": known => known > from, ">=": known => known >= from,
    ":": known => known >= from && known <= to, "=": known => known >= from && known <= to,
  };
  return model => model.numbers[field].some(tests[sign]);
}

function amount(text) {
  const found = /^(\d+(?:\.\d+)?|\.\d+)([kmgb]?)$/.exec(text);
  return found ? Number(found[1]) * UNITS[found[2]] : null;
}

// " Did you mean scripts?", or nothing.
function nearest(name, names, before = "") {
  let best = null;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const other of names) {
    const apart = other.startsWith(name) ? 1 : distance(name, other);
    if (apart < least) [best, least] = [other, apart];
  }
  return best === null ? "" : ` Did you mean ${before}${best}?`;
}

function distance(left, right) {
  let row = Array.from({ length: right.length + 1 }, (_, place) => place);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (left[i - 1] !== right[j - 1])));
    }
    row = next;
  }
  return row.at(-1);
}
