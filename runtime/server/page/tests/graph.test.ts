// The layout of the step graph, and the rows and bars of the timeline.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Frame } from "../src/api/types.ts";
import { type Box, layout, type LayoutChoices } from "../src/model/layout.ts";
import { calleesByNode, type Outline, type OutlineNode, sizeOf } from "../src/model/outline.ts";
import { RunFold } from "../src/model/run.ts";
import { barsOf, pan, rowsOf, tickText, ticks, wholeOf, zoom } from "../src/model/timeline.ts";

const file = (name: string) => readFileSync(new URL(`data/${name}`, import.meta.url), "utf8");
const outline = JSON.parse(file("demo.outline.json")) as Outline;
const closed: LayoutChoices = { open: new Map(), iteration: new Map() };
function demo() {
  const run = new RunFold(0, calleesByNode(outline));
  for (const line of file("demo.jsonl").trim().split("\n")) run.apply(JSON.parse(line) as Frame, line);
  return run;
}
const solid = (b: Box) => b.kind === "step" || b.kind === "pure" || b.kind === "end" || b.kind === "head";
const overlap = (a: Box, b: Box) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

describe("the graph", () => {
  test("draws every statement once, without a run", () => {
    const drawn = layout(outline, null, closed);
    const ids = new Set(drawn.boxes.map((b) => b.node?.id).filter((id) => id !== undefined));
    expect(ids.size).toBe(sizeOf(outline.body));
    expect(new Set(drawn.boxes.map((b) => b.key)).size).toBe(drawn.boxes.length);
    expect(new Set(drawn.lines.map((l) => l.key)).size).toBe(drawn.lines.length);
  });
  test("no two boxes lie on one another, and all lie within it", () => {
    for (const run of [null, demo()]) {
      const open = new Map(layout(outline, run, closed).boxes.map((b) => [b.key, true]));
      const drawn = layout(outline, run, { open, iteration: new Map() });
      const boxes = drawn.boxes.filter(solid);
      boxes.forEach((a, i) =>
        boxes
          .slice(i + 1)
          .forEach((b) => expect([a.key, b.key, overlap(a, b)]).toEqual([a.key, b.key, false])),
      );
      for (const b of drawn.boxes) {
        expect(b.x).toBeGreaterThanOrEqual(0);
        expect(b.x + b.w).toBeLessThanOrEqual(drawn.w + 0.5);
        expect(b.y + b.h).toBeLessThanOrEqual(drawn.h + 0.5);
      }
    }
  });
  test("groups hold what is in them", () => {
    const drawn = layout(outline, demo(), closed);
    const loop = drawn.boxes.find((b) => b.path === "refine")!;
    const draft = drawn.boxes.find((b) => b.path === "refine[2].draft")!;
    expect(draft.x).toBeGreaterThan(loop.x);
    expect(draft.y + draft.h).toBeLessThan(loop.y + loop.h);
  });
  test("a loop shows its last iteration, or the one that was chosen", () => {
    const run = demo();
    const shown = (c: LayoutChoices) =>
      layout(outline, run, c)
        .boxes.map((b) => b.path)
        .filter((p) => p.startsWith("refine["));
    expect(shown(closed)).toEqual(["refine[2].draft"]);
    expect(shown({ ...closed, iteration: new Map([["refine", "refine[1]"]]) })).toEqual(["refine[1].draft"]);
    const loop = layout(outline, run, closed).boxes.find((b) => b.path === "refine")!;
    expect(
      layout(outline, run, { ...closed, open: new Map([[loop.key, false]]) }).boxes.some((b) =>
        b.path.startsWith("refine["),
      ),
    ).toBe(false);
  });
  test("fades the way that was not taken", () => {
    const drawn = layout(outline, demo(), closed);
    const first = drawn.boxes.find((b) => b.path === "log")!;
    expect(first.faded).toBe(true);
    expect(drawn.boxes.find((b) => b.path === "short")!.faded).toBe(false);
  });
  test("a tool and a child workflow open into their own steps", () => {
    const run = demo();
    const left = layout(outline, run, closed).boxes.find((b) => b.path === "left")!;
    expect(left.foldable).toBe(true);
    const open = layout(outline, run, { ...closed, open: new Map([[left.key, true]]) });
    expect(open.boxes.some((b) => b.path === "left.w")).toBe(true);
  });
  test("without an outline it is drawn from the events", () => {
    const drawn = layout(null, demo(), closed);
    const paths = drawn.boxes.map((b) => b.path);
    expect(paths).toContain("first");
    expect(paths).toContain("refine[2].draft");
    expect(paths).not.toContain("if");
  });
  test("a thousand steps: one below the other, and side by side in a grid", () => {
    const node = (i: number): OutlineNode => ({
      id: i,
      kind: "step",
      name: `s${i}`,
      named: true,
      callee: "log",
      callee_kind: "builtin",
    });
    const many: Outline = {
      name: "many",
      kind: "workflow",
      body: Array.from({ length: 1000 }, (_, i) => node(i)),
    };
    const drawn = layout(many, null, closed);
    expect(drawn.boxes.length).toBe(1000);
    const wide: Outline = {
      ...many,
      body: [
        {
          id: 5000,
          kind: "parallel",
          name: "p",
          named: false,
          branches: many.body!.map((n) => ({ name: "", body: [n] })),
        },
      ],
    };
    expect(layout(wide, null, closed).w).toBeLessThan(2000);
  });
});

describe("the timeline", () => {
  const run = demo();
  test("has a row for each step that takes time, below what it stands in", () => {
    const rows = rowsOf(run, new Map());
    expect(rows.map((r) => [r.step.id, r.depth]).slice(0, 4)).toEqual([
      ["first", 0],
      ["short", 0],
      ["one", 0],
      ["left", 0],
    ]);
    expect(rows.some((r) => r.step.kind === "if")).toBe(false);
    expect(rows.find((r) => r.step.id === "for[1].got")!.depth).toBe(2);
    expect(rowsOf(run, new Map([["for", false]])).some((r) => r.step.id.startsWith("for["))).toBe(false);
  });
  test("tells running, waiting and retrying apart", () => {
    const whole = wholeOf(run, 0);
    const kinds = (id: string) => barsOf(run.step(id)!, whole, 0).map((b) => b.kind);
    expect(kinds("first")).toEqual(["running"]);
    expect(kinds("one")).toEqual(["waiting"]);
    expect(kinds("verdict")).toContain("waiting");
    expect(kinds("right.b")).toContain("retrying");
  });
  test("bars stay in the window", () => {
    const whole = wholeOf(run, 0);
    const view = zoom(whole, whole, 0.1, 0.5);
    for (const step of run.steps.values())
      for (const b of barsOf(step, view, 0)) {
        expect(b.left).toBeGreaterThanOrEqual(0);
        expect(b.left + b.width).toBeLessThanOrEqual(1.000001);
      }
  });
  test("zooms around a moment and never out of the run", () => {
    const whole = { from: 0, to: 1000 };
    expect(zoom(whole, whole, 0.5, 0.25)).toEqual({ from: 125, to: 625 });
    expect(zoom({ from: 0, to: 100 }, whole, 100, 0.5)).toEqual(whole);
    const close = zoom({ from: 10, to: 12 }, whole, 0.001, 0.5);
    expect(close.to - close.from).toBeCloseTo(1);
    expect(pan({ from: 900, to: 1000 }, whole, 0.5)).toEqual({ from: 900, to: 1000 });
    expect(pan({ from: 500, to: 600 }, whole, -0.5)).toEqual({ from: 450, to: 550 });
  });
  test("marks stand at round times", () => {
    expect(ticks({ from: 1000, to: 2000 }, 1000, 5).map((t) => t.ms)).toEqual([0, 200, 400, 600, 800, 1000]);
    expect(ticks({ from: 0, to: 3 * 86_400_000 }, 0, 6).length).toBeLessThanOrEqual(7);
    expect([0, 20, 1500, 60_000, 90_000, 3_600_000, 5_400_000, 172_800_000].map(tickText)).toEqual([
      "0",
      "20 ms",
      "1.5 s",
      "1 min",
      "1 min 30 s",
      "1 h",
      "1 h 30 min",
      "2 d",
    ]);
  });
});
