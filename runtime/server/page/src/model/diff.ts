// Two runs beside one another: which steps differ, and in what.
import type { Json, StepRecord, Usage } from "../api/types.ts";
import { errorText, millis } from "./format.ts";

export interface Change {
  path: string;
  kind: "changed" | "added" | "removed";
  before: Json | undefined;
  after: Json | undefined;
}

/** At most this many differences of one value are told. */
export const MOST_CHANGES = 200;

const isObject = (v: Json | undefined): v is { [key: string]: Json } =>
  typeof v === "object" && v !== null && !Array.isArray(v);

/** What differs between two values, by path. Lists are compared place by place. */
export function valueChanges(
  before: Json | undefined,
  after: Json | undefined,
  path = "",
  out: Change[] = [],
): Change[] {
  if (out.length >= MOST_CHANGES || before === after) return out;
  if (before === undefined || after === undefined) {
    out.push({ path, kind: before === undefined ? "added" : "removed", before, after });
  } else if (Array.isArray(before) && Array.isArray(after)) {
    for (let i = 0; i < Math.max(before.length, after.length); ++i)
      valueChanges(before[i], after[i], `${path}[${i}]`, out);
  } else if (isObject(before) && isObject(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
      valueChanges(before[key], after[key], path === "" ? key : `${path}.${key}`, out);
  } else {
    out.push({ path, kind: "changed", before, after });
  }
  return out;
}

export interface TextLine {
  kind: "same" | "added" | "removed";
  text: string;
}

/** Texts longer than this many lines are given whole, one after the other. */
export const MOST_LINES = 1000;

/** Line by line, with the longest common part kept. */
export function textLines(before: string, after: string): TextLine[] {
  const a = before.split("\n");
  const b = after.split("\n");
  let begin = 0;
  while (begin < a.length && begin < b.length && a[begin] === b[begin]) ++begin;
  let end = 0;
  while (end < a.length - begin && end < b.length - begin && a[a.length - 1 - end] === b[b.length - 1 - end])
    ++end;
  const same = (text: string): TextLine => ({ kind: "same", text });
  const x = a.slice(begin, a.length - end);
  const y = b.slice(begin, b.length - end);
  const out: TextLine[] = a.slice(0, begin).map(same);
  if (x.length > MOST_LINES || y.length > MOST_LINES) {
    out.push(
      ...x.map((text): TextLine => ({ kind: "removed", text })),
      ...y.map((text): TextLine => ({ kind: "added", text })),
    );
  } else {
    const width = y.length + 1;
    const longest = new Uint16Array((x.length + 1) * width);
    for (let i = x.length - 1; i >= 0; --i)
      for (let j = y.length - 1; j >= 0; --j)
        longest[i * width + j] =
          x[i] === y[j]
            ? longest[(i + 1) * width + j + 1]! + 1
            : Math.max(longest[(i + 1) * width + j]!, longest[i * width + j + 1]!);
    let i = 0;
    let j = 0;
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) (out.push(same(x[i]!)), ++i, ++j);
      else if (
        j >= y.length ||
        (i < x.length && longest[(i + 1) * width + j]! >= longest[i * width + j + 1]!)
      )
        out.push({ kind: "removed", text: x[i++]! });
      else out.push({ kind: "added", text: y[j++]! });
    }
  }
  out.push(...a.slice(a.length - end).map(same));
  return out;
}

export interface ComparedStep {
  id: string;
  callee: string;
  verdict: "same" | "differs" | "only-a" | "only-b";
  /** What differs, in words: "status", "output", "input", "attempts". */
  what: string[];
  a: StepRecord | null;
  b: StepRecord | null;
}

const lengthOf = (s: StepRecord) => {
  const from = millis(s.started_at);
  const to = millis(s.ended_at);
  return from === null || to === null ? null : to - from;
};
export { lengthOf as stepLength };

/** The steps of both, in the order of the first; one of the second alone stands after what it follows there. */
export function compareSteps(a: StepRecord[], b: StepRecord[]): ComparedStep[] {
  const inA = new Set(a.map((s) => s.step_id));
  const inB = new Map(b.map((s) => [s.step_id, s]));
  const following = new Map<string, StepRecord[]>();
  let after = "";
  for (const s of b) {
    if (inA.has(s.step_id)) after = s.step_id;
    else following.set(after, [...(following.get(after) ?? []), s]);
  }
  const out: ComparedStep[] = [];
  const onlyB = (place: string) => {
    for (const s of following.get(place) ?? [])
      out.push({ id: s.step_id, callee: s.callee ?? "", verdict: "only-b", what: [], a: null, b: s });
  };
  onlyB("");
  for (const s of a) {
    const other = inB.get(s.step_id);
    if (other) {
      const what = differences(s, other);
      out.push({
        id: s.step_id,
        callee: s.callee ?? other.callee ?? "",
        verdict: what.length > 0 ? "differs" : "same",
        what,
        a: s,
        b: other,
      });
    } else {
      out.push({ id: s.step_id, callee: s.callee ?? "", verdict: "only-a", what: [], a: s, b: null });
    }
    onlyB(s.step_id);
  }
  return out;
}

function differences(a: StepRecord, b: StepRecord): string[] {
  const what: string[] = [];
  if (a.status !== b.status) what.push("status");
  if (valueChanges(a.input, b.input).length > 0) what.push("input");
  if (valueChanges(a.content, b.content).length > 0) what.push("output");
  if (errorText(a.error) !== errorText(b.error)) what.push("error");
  if ((a.attempts ?? 1) !== (b.attempts ?? 1)) what.push("attempts");
  return what;
}

export function usageDelta(a: Usage | null | undefined, b: Usage | null | undefined) {
  const total = (u: Usage | null | undefined) => (u?.input_tokens ?? 0) + (u?.output_tokens ?? 0);
  return { tokens: total(b) - total(a), usd: (b?.usd ?? 0) - (a?.usd ?? 0) };
}
