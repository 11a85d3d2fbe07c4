// The waterfall: which rows there are, and where their bars stand.
import { type RunFold } from "./run.ts";
import { hasEnded, type Span, type Step } from "./step.ts";

export interface Row {
  step: Step;
  depth: number;
  foldable: boolean;
  open: boolean;
}

/** A step with more children than this is closed at first. */
export const OPEN_UP_TO = 50;

// They take no time of their own, and nothing stands in them: their steps are beside them.
const UNSHOWN: ReadonlySet<Step["kind"]> = new Set(["if", "match", "parallel"]);

/** The rows of the steps that are open, in the order in which they began. */
export function rowsOf(run: RunFold, choices: ReadonlyMap<string, boolean>): Row[] {
  const out: Row[] = [];
  const stack: [string, number][] = [];
  const push = (ids: string[], depth: number) => {
    for (let i = ids.length - 1; i >= 0; --i) stack.push([ids[i]!, depth]);
  };
  push(run.roots, 0);
  while (stack.length > 0) {
    const [id, depth] = stack.pop()!;
    const step = run.step(id);
    if (!step || UNSHOWN.has(step.kind)) continue;
    const foldable = step.children.length > 0;
    const usual = step.children.length <= OPEN_UP_TO && depth < 2;
    const open = foldable && (choices.get(id) ?? usual);
    out.push({ step, depth, foldable, open });
    if (open) push(step.children, depth + 1);
  }
  return out;
}

export interface Window {
  from: number;
  to: number;
}

/** All of a run; of one that goes on, until now. */
export function wholeOf(run: RunFold, now: number): Window {
  let from = run.from ?? Infinity;
  let to = run.to ?? -Infinity;
  for (const id of run.roots) {
    const step = run.step(id);
    if (!step || UNSHOWN.has(step.kind)) continue;
    from = Math.min(from, step.from);
    to = Math.max(to, step.to ?? step.from);
  }
  if (run.to === null) to = Math.max(to, now);
  if (!Number.isFinite(from)) from = now - 1000;
  if (!Number.isFinite(to)) to = now;
  return { from, to: Math.max(to, from + 10) };
}

export interface Bar {
  kind: Span["kind"];
  /** Fractions of the window's width. */
  left: number;
  width: number;
  open: boolean;
}

export function barsOf(step: Step, view: Window, now: number): Bar[] {
  const size = view.to - view.from;
  const out: Bar[] = [];
  for (const span of step.spans) {
    const end = span.to ?? (hasEnded(step.status) ? (step.to ?? span.from) : Math.max(now, span.from));
    if (end < view.from || span.from > view.to) continue;
    const left = Math.max(0, (span.from - view.from) / size);
    const right = Math.min(1, (end - view.from) / size);
    out.push({ kind: span.kind, left, width: Math.max(0, right - left), open: span.to === null });
  }
  return out;
}

/** Zooms by `factor` around the moment at `at` (a fraction), never out of `whole` nor below 1 ms. */
export function zoom(view: Window, whole: Window, factor: number, at: number): Window {
  const size = Math.min(whole.to - whole.from, Math.max(1, (view.to - view.from) * factor));
  const moment = view.from + (view.to - view.from) * at;
  return within({ from: moment - size * at, to: moment + size * (1 - at) }, whole);
}

export function pan(view: Window, whole: Window, fraction: number): Window {
  const by = (view.to - view.from) * fraction;
  return within({ from: view.from + by, to: view.to + by }, whole);
}

function within(view: Window, whole: Window): Window {
  const size = Math.min(view.to - view.from, whole.to - whole.from);
  const from = Math.min(Math.max(view.from, whole.from), whole.to - size);
  return { from, to: from + size };
}

const NICE = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
  600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 28_800_000, 43_200_000, 86_400_000,
  172_800_000, 604_800_000, 2_592_000_000, 31_536_000_000,
];

/** Marks of the axis, counted from the run's beginning. */
export function ticks(view: Window, origin: number, most: number): { at: number; ms: number }[] {
  const size = view.to - view.from;
  const step = NICE.find((n) => size / n <= most) ?? NICE.at(-1)!;
  const out: { at: number; ms: number }[] = [];
  for (let ms = Math.ceil((view.from - origin) / step) * step; origin + ms <= view.to; ms += step) {
    out.push({ at: (origin + ms - view.from) / size, ms });
  }
  return out;
}

/** What a mark says: of the units that its distance needs. */
export function tickText(ms: number): string {
  if (ms === 0) return "0";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${ms / 1000} s`;
  if (ms < 3_600_000)
    return ms % 60_000 === 0
      ? `${ms / 60_000} min`
      : `${Math.floor(ms / 60_000)} min ${(ms % 60_000) / 1000} s`;
  if (ms < 86_400_000)
    return ms % 3_600_000 === 0
      ? `${ms / 3_600_000} h`
      : `${Math.floor(ms / 3_600_000)} h ${(ms % 3_600_000) / 60_000} min`;
  return `${Math.round((ms / 86_400_000) * 10) / 10} d`;
}
