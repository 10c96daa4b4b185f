// What is shown, as text for elsewhere.

import { WORDS, claims } from "./model.js";

const COLUMNS = ["model", "family", "class"];
const line = model => [model.name, model.family, model.kind, ...model.codes.map(code => WORDS[code[0]])];
// A spreadsheet computes what begins so, in quotes too.
const inert = text => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
const quoted = text => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const piped = text => text.replaceAll(/[\\|`*[\]<&~$]/g, "\\$&").replaceAll("\n", " ");

export const FORMS = {
  CSV: shown => [[...COLUMNS, ...claims.map(([id]) => id)], ...shown.map(line)]
    .map(parts => parts.map(inert).map(quoted).join(",")).join("\r\n"),
  Markdown: shown => {
    const marks = { h: "✓", v: "✗", u: "?", n: "–" };
    const rows = shown.map(model => [model.name, ...model.codes.map(code => marks[code[0]])]);
    const head = ["model", ...claims.map(([id]) => id)];
    return [head, head.map(() => "---"), ...rows].map(parts => `| ${parts.map(piped).join(" | ")} |`).join("\n");
  },
  Python: shown => `models = [\n${shown.map(model => `    ${JSON.stringify(model.name)},\n`).join("")}]`,
};

// Puts the text on the clipboard and says so on the button.
export async function copy(text, button) {
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = (await written(text)) ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

async function written(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
