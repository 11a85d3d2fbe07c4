// What a run's state is made of: steps, their attempts and spans, texts of models, events.
import type { Frame, Usage } from "../api/types.ts";
import { brief, errorText } from "./format.ts";

export type StepStatus = "RUNNING" | "RETRYING" | "WAITING" | "PAUSED" | "COMPLETED" | "ERROR" | "CANCELLED";
export type SpanKind = "running" | "waiting" | "retrying";
export type StepKind =
  "step" | "agent" | "team" | "model" | "tool" | "if" | "match" | "parallel" | "for" | "loop" | "iteration";

export interface Span {
  kind: SpanKind;
  from: number;
  to: number | null;
}

export interface Attempt {
  number: number;
  from: number;
  to: number | null;
  error: string | null;
  /** When the next one is due, if this one failed and is repeated. */
  due: number | null;
  reason: string | null;
}

export interface Step {
  id: string;
  name: string;
  label: string;
  /** Number of the statement: `step_index` of frames, `id` of the outline. -1: made here (an iteration). */
  node: number;
  kind: StepKind;
  /** Id of the step that it stands in; "": none. */
  parent: string;
  children: string[];
  status: StepStatus;
  waitsFor: "person" | "timer" | "signal" | "run" | null;
  from: number;
  to: number | null;
  spans: Span[];
  attempts: Attempt[];
  /** Indexes of the events that have its input, its value and its error. */
  inputAt: number;
  outputAt: number;
  error: string | null;
  errorAt: number;
  continued: boolean;
  cached: boolean;
  usage: Usage | null;
  callee: string;
  childRun: string;
  role: string;
  requirement: string;
  arm: number | null;
  items: number | null;
  iterations: number;
  /** Steps in it, at any depth, that have not ended. */
  active: number;
  failed: number;
  /** The times are exact, from the step's record. */
  exact: boolean;
}

export interface StreamText {
  call: string;
  attempt: number;
  text: string;
  reasoning: string;
  done: boolean;
  /** Text before this many characters was dropped. */
  cut: number;
}

export interface EventRow {
  index: number;
  name: string;
  step: string;
  time: number;
  /** The frame's text; null once it was dropped to save memory. */
  raw: string | null;
  brief: string;
}

export interface OpenQuestion {
  step: string;
  /** The child run that asks; "": the run itself. */
  run: string;
  workflow: string;
}

export interface RunFoldLimits {
  steps: number;
  events: number;
  rawBytes: number;
  streamChars: number;
}

/** What one run may hold in a browser. Beyond it the oldest goes: it is on the server still. */
export const LIMITS: RunFoldLimits = {
  steps: 20_000,
  events: 100_000,
  rawBytes: 64 << 20,
  streamChars: 400_000,
};

const ENDED: ReadonlySet<StepStatus> = new Set(["COMPLETED", "ERROR", "CANCELLED"]);
export const hasEnded = (status: StepStatus) => ENDED.has(status);

/** The path of what a path stands in: `a.b[2].c` → `a.b[2]` → `a.b` → `a` → "". */
export function outerPath(path: string): string {
  let quoted = path.length;
  if (path.endsWith("]")) {
    quoted = path.lastIndexOf("[");
    if (quoted > 0) return path.slice(0, quoted);
  }
  const dot = path.lastIndexOf(".");
  return dot < 0 ? "" : path.slice(0, dot);
}

export function addUsage(to: Usage | null, more: Usage): Usage {
  const sum = (a?: number | null, b?: number | null) => (a ?? 0) + (b ?? 0);
  return {
    input_tokens: sum(to?.input_tokens, more.input_tokens),
    output_tokens: sum(to?.output_tokens, more.output_tokens),
    cached_input_tokens: sum(to?.cached_input_tokens, more.cached_input_tokens),
    reasoning_tokens: sum(to?.reasoning_tokens, more.reasoning_tokens),
    usd: sum(to?.usd, more.usd),
    calls: sum(to?.calls, more.calls ?? 1),
  };
}

/** Spans with the exact ends of the step, and of its attempts if they are known. */
export function exactSpans(step: Step, byAttempt: boolean): Span[] {
  const end = step.to;
  if (byAttempt && step.attempts.length > 1) {
    const out: Span[] = [];
    step.attempts.forEach((a, i) => {
      const next = step.attempts[i + 1];
      out.push({ kind: "running", from: a.from, to: a.to ?? next?.from ?? end });
      const failed = a.to ?? next?.from;
      if (failed && (next || step.status === "RETRYING"))
        out.push({ kind: "retrying", from: failed, to: next?.from ?? end });
    });
    return out;
  }
  const clamp = (t: number) => Math.max(step.from, end === null ? t : Math.min(t, end));
  const out = step.spans.map((s) => ({
    kind: s.kind,
    from: clamp(s.from),
    to: s.to === null ? null : clamp(s.to),
  }));
  const first = out[0];
  const last = out.at(-1);
  if (first) first.from = step.from;
  if (last && end !== null) last.to = end;
  return out.length > 1 ? out.filter((s) => s.to === null || s.to > s.from) : out;
}

/** What a list of events says beside the event's name. */
export function briefOf(f: Frame): string {
  if (f.error !== undefined && f.error !== null) return errorText(f.error);
  if (f.message !== undefined) return brief(f.message);
  if (f.event.endsWith("Started") && f.input !== undefined) return brief(f.input);
  if (f.content !== undefined) return brief(f.content);
  if (f.iteration !== undefined) return `iteration ${f.iteration}`;
  if (f.items !== undefined) return `${f.items} items`;
  if (f.arm !== undefined) return `arm ${f.arm}`;
  if (f.agent !== undefined) return `${f.agent} · ${f.model}`;
  if (f.reason !== undefined) return brief(f.reason);
  return "";
}
