// Where the boxes and lines of a step graph are. A graph is laid out from the program's outline, with
// the run's own steps inside what the outline does not know: an agent's turns.
import { childPath, type Outline, type OutlineNode } from "./outline.ts";
import type { RunFold } from "./run.ts";
import type { Step } from "./step.ts";

export type BoxKind = "step" | "pure" | "head" | "group" | "label" | "end";

export interface Box {
  key: string;
  kind: BoxKind;
  x: number;
  y: number;
  w: number;
  h: number;
  title: string;
  sub: string;
  /** Path of the step that it shows, "" if it shows none. */
  path: string;
  node: OutlineNode | null;
  /** It can be opened or closed. */
  foldable: boolean;
  open: boolean;
  /** Of a loop: which iteration is shown, and which there are. */
  iteration: string;
  iterations: string[];
  depth: number;
  /** The run went another way. */
  faded: boolean;
}

export interface Line {
  key: string;
  points: [number, number][];
  label: string;
  faded: boolean;
}

export interface Layout {
  w: number;
  h: number;
  boxes: Box[];
  lines: Line[];
}

export interface LayoutChoices {
  /** Boxes that were opened or closed by hand: key → open. */
  open: ReadonlyMap<string, boolean>;
  /** Iterations that were chosen by hand: path of the loop → path of the iteration. */
  iteration: ReadonlyMap<string, string>;
}

const STEP_W = 240;
const STEP_H = 54;
const PURE_H = 28;
const HEAD_H = 30;
const GROUP_HEAD_H = 50;
const GAP_Y = 30;
const GAP_X = 28;
const PAD = 16;
const LABEL_H = 22;
/** Parallel branches of one step each stand in a grid from this many on. */
const GRID_FROM = 7;
const GRID_COLUMNS = 6;
/** Of an agent's turn at most this many calls are drawn; the timeline has all. */
const MOST_CALLS = 60;
const CHAR_W = 7.5;
/** Their steps stand beside them, not in them. */
const UNSHOWN: ReadonlySet<string> = new Set(["if", "match", "parallel"]);

interface Piece {
  w: number;
  h: number;
  /** Where lines come in and go out, from the left edge. */
  axis: number;
  put(x: number, y: number): void;
}

interface Context {
  prefix: string;
  depth: number;
  faded: boolean;
}

/** The iterations of a loop or `for` that a run has begun, in order. */
export function iterationsOf(run: RunFold | null, path: string): string[] {
  const loop = run?.step(path);
  return loop ? loop.children.filter((id) => run!.step(id)?.kind === "iteration") : [];
}

export function layout(outline: Outline | null, run: RunFold | null, choices: LayoutChoices): Layout {
  const out: Layout = { w: 0, h: 0, boxes: [], lines: [] };
  const callables = outline?.callables ?? {};

  const isOpen = (key: string, usual: boolean) => choices.open.get(key) ?? usual;
  const box = (b: Partial<Box> & Pick<Box, "key" | "kind" | "x" | "y" | "w" | "h">) => {
    out.boxes.push({
      title: "",
      sub: "",
      path: "",
      node: null,
      foldable: false,
      open: false,
      iteration: "",
      iterations: [],
      depth: 0,
      faded: false,
      ...b,
    });
  };
  const line = (key: string, points: [number, number][], faded = false, label = "") =>
    out.lines.push({ key, points, label, faded });
  const elbow = (x1: number, y1: number, x2: number, y2: number): [number, number][] => {
    if (Math.abs(x1 - x2) < 0.5)
      return [
        [x1, y1],
        [x2, y2],
      ];
    const middle = (y1 + y2) / 2;
    return [
      [x1, y1],
      [x1, middle],
      [x2, middle],
      [x2, y2],
    ];
  };

  // One under the other.
  function stack(pieces: Piece[], key: string, faded: boolean): Piece {
    const axis = Math.max(0, ...pieces.map((p) => p.axis));
    const right = Math.max(0, ...pieces.map((p) => p.w - p.axis));
    const h = pieces.reduce((sum, p) => sum + p.h, 0) + Math.max(0, pieces.length - 1) * GAP_Y;
    return {
      w: axis + right,
      h,
      axis,
      put(x, y) {
        pieces.forEach((p, i) => {
          p.put(x + axis - p.axis, y);
          y += p.h;
          if (i + 1 < pieces.length)
            line(
              `${key}/${i}`,
              [
                [x + axis, y],
                [x + axis, y + GAP_Y],
              ],
              faded,
            );
          y += GAP_Y;
        });
      },
    };
  }

  // Side by side below a head, and together again.
  function columns(head: Piece, arms: { label: string; piece: Piece; faded: boolean }[], key: string): Piece {
    const widths = arms.map((a) => Math.max(a.piece.w, a.label.length * CHAR_W + 12, 60));
    const inner = widths.reduce((sum, w) => sum + w, 0) + GAP_X * Math.max(0, arms.length - 1);
    const w = Math.max(head.w, inner);
    const tallest = Math.max(0, ...arms.map((a) => a.piece.h));
    const labels = arms.some((a) => a.label !== "") ? LABEL_H : 0;
    const top = head.h + GAP_Y + labels;
    return {
      w,
      h: top + tallest + GAP_Y,
      axis: w / 2,
      put(x, y) {
        head.put(x + w / 2 - head.axis, y);
        const bottom = y + top + tallest + GAP_Y;
        let at = x + (w - inner) / 2;
        arms.forEach((arm, i) => {
          const width = widths[i]!;
          const cx = at + (width - arm.piece.w) / 2 + arm.piece.axis;
          line(`${key}>${i}`, elbow(x + w / 2, y + head.h, cx, y + top - labels), arm.faded);
          if (labels > 0) {
            box({
              key: `${key}|${i}`,
              kind: "label",
              x: at,
              y: y + top - labels,
              w: width,
              h: LABEL_H,
              title: arm.label,
              faded: arm.faded,
            });
          }
          arm.piece.put(at + (width - arm.piece.w) / 2, y + top);
          line(`${key}<${i}`, elbow(cx, y + top + arm.piece.h, x + w / 2, bottom), arm.faded);
          at += width + GAP_X;
        });
      },
    };
  }

  function single(kind: BoxKind, w: number, h: number, b: Partial<Box> & { key: string }): Piece {
    return { w, h, axis: w / 2, put: (x, y) => box({ kind, x, y, w, h, ...b }) };
  }

  function group(b: Partial<Box> & { key: string }, inner: Piece | null): Piece {
    const headW = Math.max(
      STEP_W,
      Math.min(420, ((b.title?.length ?? 0) + (b.sub?.length ?? 0)) * CHAR_W + 70),
    );
    const w = inner ? Math.max(headW, inner.w + 2 * PAD) : headW;
    const h = inner ? GROUP_HEAD_H + PAD + inner.h + PAD : GROUP_HEAD_H;
    return {
      w,
      h,
      axis: w / 2,
      put(x, y) {
        box({ kind: "group", x, y, w, h, ...b });
        inner?.put(x + w / 2 - inner.axis, y + GROUP_HEAD_H + PAD);
      },
    };
  }

  const wideAs = (text: string) => Math.min(320, Math.max(76, text.length * CHAR_W + 28));

  function block(nodes: OutlineNode[] | null | undefined, c: Context, key: string): Piece {
    const pieces = (nodes ?? []).map((n) => statement(n, c, `${key}/${n.id}`));
    if (pieces.length === 0) return { w: 12, h: 0, axis: 6, put() {} };
    return stack(pieces, key, c.faded);
  }

  function statement(n: OutlineNode, c: Context, key: string): Piece {
    const path = childPath(c.prefix, n.name);
    const common = { key: `${c.prefix}#${key}`, node: n, depth: c.depth, faded: c.faded };
    const seen = run?.step(path);
    switch (n.kind) {
      case "step":
        return stepPiece(n, path, c, common);
      case "if":
      case "match": {
        const head = single("head", wideAs(n.kind === "if" ? "if" : `match ${n.text ?? ""}`), HEAD_H, {
          ...common,
          path,
          title: n.kind === "if" ? "if" : `match ${n.text ?? ""}`,
        });
        const arms = (n.arms ?? []).map((arm, i) => {
          const faded = c.faded || (seen?.arm !== undefined && seen.arm !== null && seen.arm !== i);
          return { label: arm.when ?? "else", faded, piece: block(arm.body, { ...c, faded }, `${key}.${i}`) };
        });
        // Without an else the run may pass by.
        if (!(n.arms ?? []).some((a) => a.when === null) && n.kind === "if") {
          const faded = c.faded || (seen?.arm !== undefined && seen.arm !== null && seen.arm < arms.length);
          arms.push({ label: "otherwise", faded, piece: block([], c, key) });
        }
        return columns(head, arms, common.key);
      }
      case "parallel": {
        const branches = n.branches ?? [];
        const join = n.join === "first" ? `first(${n.first})` : n.join === "all" ? "" : (n.join ?? "");
        const title = ["parallel", join, n.limit ? `limit ${n.limit}` : ""].filter(Boolean).join(" · ");
        const head = single("head", wideAs(title), HEAD_H, { ...common, path, title });
        const pieces = branches.map((b, i) => {
          const prefix = b.name ? childPath(c.prefix, b.name) : c.prefix;
          return { label: b.name, faded: c.faded, piece: block(b.body, { ...c, prefix }, `${key}.${i}`) };
        });
        const simple = branches.every((b) => b.body?.length === 1 && b.body[0]!.kind === "step");
        if (pieces.length >= GRID_FROM && simple)
          return stack([head, grid(pieces.map((p) => p.piece))], common.key, c.faded);
        return columns(head, pieces, common.key);
      }
      case "for":
      case "loop":
        return loopPiece(n, path, c, common, seen);
      case "try": {
        const failed = (n.catches ?? []).length > 0 && run !== null && caught(n, c.prefix);
        const arms = (n.catches ?? []).map((a, i) => ({
          label: `catch ${a.name}${a.guard ? ` if ${a.guard}` : ""}`,
          faded: c.faded || (run !== null && !failed),
          piece: block(
            a.body,
            { ...c, prefix: childPath(c.prefix, "catch"), faded: c.faded || (run !== null && !failed) },
            `${key}.c${i}`,
          ),
        }));
        const body = block(n.body, c, `${key}.b`);
        const pieces = [
          arms.length > 0 ? columns(body, arms, common.key) : body,
          ...(n.finally
            ? [
                stack(
                  [
                    single("head", wideAs("finally"), HEAD_H, {
                      ...common,
                      key: `${common.key}!`,
                      title: "finally",
                    }),
                    block(n.finally, c, `${key}.f`),
                  ],
                  `${common.key}f`,
                  c.faded,
                ),
              ]
            : []),
        ];
        return group({ ...common, title: "try", path: "" }, stack(pieces, `${common.key}t`, c.faded));
      }
      case "return":
      case "fail":
        return single("end", wideAs(`${n.kind} ${n.text ?? ""}`), PURE_H, {
          ...common,
          title: n.kind,
          sub: n.text ?? "",
        });
      default: {
        const title = n.kind === "let" ? n.name : n.kind === "set" ? (n.target ?? "set") : n.kind;
        const sub = n.text ?? "";
        return single("pure", wideAs(`${title} ${sub}`), PURE_H, { ...common, title, sub });
      }
    }
  }

  // Whether a catch of this `try` has begun anything.
  function caught(n: OutlineNode, prefix: string): boolean {
    const at = childPath(prefix, "catch");
    return (n.catches ?? []).some((a) =>
      (a.body ?? []).some((s) => run!.step(childPath(at, s.name)) !== undefined),
    );
  }

  function grid(pieces: Piece[]): Piece {
    const w = Math.max(...pieces.map((p) => p.w));
    const h = Math.max(...pieces.map((p) => p.h));
    const cols = Math.min(GRID_COLUMNS, pieces.length);
    const rows = Math.ceil(pieces.length / cols);
    const full = cols * w + (cols - 1) * 12;
    return {
      w: full,
      h: rows * h + (rows - 1) * 12,
      axis: full / 2,
      put(x, y) {
        pieces.forEach((p, i) => p.put(x + (i % cols) * (w + 12), y + Math.floor(i / cols) * (h + 12)));
      },
    };
  }

  function stepPiece(
    n: OutlineNode,
    path: string,
    c: Context,
    common: Partial<Box> & { key: string },
  ): Piece {
    const callable = callables[n.callee ?? ""];
    const calls = run?.step(path)?.children ?? [];
    const tool =
      (n.callee_kind === "tool" || n.callee_kind === "workflow") && (callable?.body?.length ?? 0) > 0;
    const agent = n.callee_kind === "agent" || n.callee_kind === "team";
    const foldable = tool || (agent && calls.length > 0);
    const open = foldable && c.depth < 8 && isOpen(common.key, false);
    const b = { ...common, path, title: n.name, sub: n.callee ?? "", foldable, open };
    if (!open) return single("step", STEP_W, STEP_H, b);
    const deeper = { ...c, prefix: path, depth: c.depth + 1 };
    return group(b, tool ? block(callable!.body, deeper, common.key) : dynamic(calls, deeper, common.key));
  }

  function loopPiece(
    n: OutlineNode,
    path: string,
    c: Context,
    common: Partial<Box> & { key: string },
    seen: Step | undefined,
  ): Piece {
    const iterations = iterationsOf(run, path);
    const chosen = choices.iteration.get(path);
    const iteration =
      chosen && iterations.includes(chosen)
        ? chosen
        : (iterations.at(-1) ?? `${path}[${n.kind === "for" ? 0 : 1}]`);
    const open = isOpen(common.key, true);
    const title =
      n.kind === "for"
        ? `for ${(n.variables ?? []).join(", ")} in ${n.text ?? ""}`
        : n.named
          ? `loop ${n.name}`
          : "loop";
    const sub =
      n.kind === "for"
        ? [
            n.limit && n.limit > 1 ? `${n.limit} at a time` : "",
            seen?.items != null ? `${seen.items} items` : "",
          ]
            .filter(Boolean)
            .join(" · ")
        : [n.until ? `until ${n.until}` : n.while ? `while ${n.while}` : "", n.max ? `max ${n.max}` : ""]
            .filter(Boolean)
            .join(" · ");
    const b = { ...common, path, title, sub, foldable: true, open, iteration, iterations };
    return group(b, open ? block(n.body, { ...c, prefix: iteration, depth: c.depth + 1 }, common.key) : null);
  }

  // Steps that the outline does not know: as the run has begun them.
  function dynamic(ids: string[], c: Context, key: string): Piece {
    ids = ids.filter((id) => !UNSHOWN.has(run!.step(id)?.kind ?? ""));
    const shown = ids.slice(-MOST_CALLS);
    const pieces: Piece[] = [];
    if (ids.length > shown.length) {
      const text = `${ids.length - shown.length} earlier calls are in the timeline`;
      pieces.push(single("pure", wideAs(text), PURE_H, { key: `${key}…`, title: text }));
    }
    for (const id of shown) {
      const step = run!.step(id);
      if (step) pieces.push(dynamicStep(step, c));
    }
    return stack(pieces, `${key}d`, c.faded);
  }

  function dynamicStep(step: Step, c: Context): Piece {
    const title = step.id.slice(c.prefix === "" ? 0 : c.prefix.length + 1);
    const key = `${step.id}#dynamic`;
    const isLoop = step.kind === "for" || step.kind === "loop";
    const iterations = isLoop ? iterationsOf(run, step.id) : [];
    const foldable = step.children.length > 0;
    const open = foldable && c.depth < 8 && isOpen(key, isLoop);
    const b = {
      key,
      path: step.id,
      title,
      sub: isLoop ? "" : step.callee || step.kind,
      foldable,
      open,
      depth: c.depth,
    };
    if (!open) return isLoop ? group(b, null) : single("step", STEP_W, STEP_H, b);
    const deeper = { ...c, depth: c.depth + 1 };
    if (iterations.length === 0) return group(b, dynamic(step.children, { ...deeper, prefix: step.id }, key));
    const chosen = choices.iteration.get(step.id);
    const iteration = chosen && iterations.includes(chosen) ? chosen : iterations.at(-1)!;
    const inner = run!.step(iteration)?.children ?? [];
    return group({ ...b, iteration, iterations }, dynamic(inner, { ...deeper, prefix: iteration }, key));
  }

  const start: Context = { prefix: "", depth: 0, faded: false };
  const body = outline?.body ? block(outline.body, start, "") : dynamic(run?.roots ?? [], start, "");
  const margin = 28;
  out.w = body.w + 2 * margin;
  out.h = body.h + 2 * margin;
  body.put(margin, margin);
  return out;
}
