// The colours of kflow source: enough of its lexis to tell words, texts, numbers and comments apart.

export interface Piece {
  kind: "" | "comment" | "doc" | "text" | "number" | "word" | "option" | "type";
  text: string;
}

const WORDS = new Set(
  (
    "kflow import as const fn secret retry model mcp agent team tool extern workflow type test mock expect run signal " +
    "step let set parallel branch match if else for in loop try catch finally return fail emit break continue true false null"
  ).split(" "),
);
const TYPES = new Set("bool int uint double string bytes duration timestamp any map file secret".split(" "));
const TOKEN =
  /(\/\/\/[^\n]*)|(\/\/[^\n]*)|("""[\s\S]*?(?:"""|$)|r?"(?:[^"\\\n]|\\.)*"?|r?'(?:[^'\\\n]|\\.)*'?)|(\b\d[\w.]*)|([A-Za-z_]\w*)|([\s\S])/g;

/** The pieces of each line. */
export function highlight(source: string): Piece[][] {
  const lines: Piece[][] = [[]];
  const add = (kind: Piece["kind"], text: string) => {
    text.split("\n").forEach((part, i) => {
      if (i > 0) lines.push([]);
      if (part === "") return;
      const line = lines.at(-1)!;
      const last = line.at(-1);
      if (last && last.kind === kind) last.text += part;
      else line.push({ kind, text: part });
    });
  };
  for (const m of source.matchAll(TOKEN)) {
    const [all, doc, comment, text, number, word] = m;
    if (doc) add("doc", all);
    else if (comment) add("comment", all);
    else if (text) add("text", all);
    else if (number) add("number", all);
    else if (word) {
      const after = source.slice(m.index + word.length, m.index + word.length + 2);
      if (/^\s?:/.test(after) && !after.startsWith("::")) add("option", all);
      else if (TYPES.has(word)) add("type", all);
      else add(WORDS.has(word) && source[m.index - 1] !== "." ? "word" : "", all);
    } else add("", all);
  }
  return lines;
}
