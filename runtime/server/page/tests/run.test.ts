// Folding events into a run's state.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Frame } from "../src/api/types.ts";
import { calleesByNode, type Outline } from "../src/model/outline.ts";
import { RunFold } from "../src/model/run.ts";
import { outerPath, type RunFoldLimits } from "../src/model/step.ts";

const file = (name: string) => readFileSync(new URL(`data/${name}`, import.meta.url), "utf8");
const demo = file("demo.jsonl").trim().split("\n");
const outline = JSON.parse(file("demo.outline.json")) as Outline;

function folded(lines: string[], upTo = lines.length, run = new RunFold(0, calleesByNode(outline))) {
  for (const line of lines.slice(0, upTo)) run.apply(JSON.parse(line) as Frame, line);
  return run;
}

let index = 0;
const frame = (event: string, rest: Partial<Frame> = {}): Frame => ({
  event,
  event_index: index++,
  run_id: "r",
  created_at: 1000 + index,
  ...rest,
});
function play(frames: [string, Partial<Frame>?][], limits?: RunFoldLimits): RunFold {
  index = 0;
  const run = new RunFold(0, new Map(), limits);
  for (const [name, rest] of frames) {
    const f = frame(name, rest);
    run.apply(f, JSON.stringify(f));
  }
  return run;
}
const step = (id: string, rest: Partial<Frame> = {}): Partial<Frame> => ({
  step_id: id,
  step_name: id,
  step_index: 1,
  attempt: 1,
  ...rest,
});

describe("a recorded run", () => {
  const run = folded(demo);
  test("ends as it ended", () => {
    expect(run.status).toBe("COMPLETED");
    expect(run.content).toContain("It is *done*");
    expect(run.events.length).toBe(demo.length);
    expect(run.nextEvent).toBe(demo.length);
    expect(run.questions.size).toBe(0);
  });
  test("has every step in the place where it stands", () => {
    expect(run.roots).toEqual([
      "first",
      "if",
      "short",
      "match",
      "one",
      "parallel",
      "left",
      "right.a",
      "right.b",
      "for",
      "refine",
      "risky",
      "catch.caught",
      "over",
      "if_2",
      "verdict",
      "ok",
    ]);
    expect(run.step("left")!.children).toEqual(["left.w"]);
    expect(run.step("for")!.children).toEqual(["for[0]", "for[1]", "for[2]"]);
    expect(run.step("for[1]")!.children).toEqual(["for[1].got"]);
    expect(run.step("refine")!.iterations).toBe(2);
  });
  test("knows attempts, arms, items, callees and children", () => {
    const b = run.step("right.b")!;
    expect(b.attempts.map((a) => [a.number, a.error !== null, a.reason])).toEqual([
      [1, true, null],
      [2, true, "retry"],
    ]);
    expect(b.status).toBe("ERROR");
    expect(b.continued).toBe(true);
    expect(run.step("if")!.arm).toBe(1);
    expect(run.step("for")!.items).toBe(3);
    expect(run.step("first")!.callee).toBe("exec.run");
    expect(run.step("one")!.childRun).not.toBe("");
  });
  test("leaves nothing open at its end", () => {
    for (const s of run.steps.values()) {
      expect([s.id, s.to]).not.toEqual([s.id, null]);
      expect([s.id, s.active]).toEqual([s.id, 0]);
      expect(s.spans.every((x) => x.to !== null)).toBe(true);
    }
  });
  test("asks while it is paused", () => {
    const at = demo.findIndex((l) => l.includes('"WorkflowPaused"')) + 1;
    const paused = folded(demo, at);
    expect(paused.status).toBe("PAUSED");
    expect([...paused.questions.values()].map((q) => [q.step, q.run])).toEqual([["verdict", ""]]);
    expect(paused.step("verdict")!.status).toBe("PAUSED");
    expect(paused.step("verdict")!.spans.at(-1)!.kind).toBe("waiting");
  });
  test("is the same when frames come twice", () => {
    const twice = folded(demo);
    for (const line of demo) twice.apply(JSON.parse(line) as Frame, line);
    expect(twice.events.length).toBe(demo.length);
    expect([...twice.steps.keys()]).toEqual([...run.steps.keys()]);
  });
  test("takes exact times from the steps' records", () => {
    const exact = folded(demo);
    exact.overlay([
      { step_id: "for[0].got", started_at: 1795826049100, ended_at: 1795826049120 },
      { step_id: "for[1].got", started_at: 1795826049110, ended_at: 1795826049160 },
      {
        step_id: "right.b",
        started_at: 1795826048000,
        ended_at: 1795826048400,
        attempt_list: [
          { attempt: 1, started_at: 1795826048000, ended_at: 1795826048010 },
          { attempt: 2, started_at: 1795826048210, ended_at: 1795826048400 },
        ],
      },
    ]);
    expect(exact.step("for")!.from).toBe(1795826049100);
    expect(exact.step("for")!.to).toBe(1795826049160);
    expect(exact.step("for[1]")!.to! - exact.step("for[1]")!.from).toBe(50);
    expect(exact.step("right.b")!.spans.map((s) => [s.kind, s.to! - s.from])).toEqual([
      ["running", 10],
      ["retrying", 200],
      ["running", 190],
    ]);
  });
});

describe("single rules", () => {
  test("outerPath", () => {
    expect(outerPath("a.b[2].c")).toBe("a.b[2]");
    expect(outerPath("a.b[2]")).toBe("a.b");
    expect(outerPath("a")).toBe("");
  });
  test("a timer, a signal and a child are waiting, not running", () => {
    index = 0;
    const run = new RunFold(0, new Map([[7, "signal.wait"]]));
    for (const f of [
      frame("WorkflowStarted"),
      frame("TimerStarted", step("nap")),
      frame("StepStarted", step("paid", { step_index: 7 })),
      frame("StepStarted", step("child", { child_run_id: "c" })),
    ])
      run.apply(f, null);
    expect(["nap", "paid", "child"].map((s) => run.step(s)!.waitsFor)).toEqual(["timer", "signal", "run"]);
    expect(["nap", "paid", "child"].map((s) => run.step(s)!.status)).toEqual([
      "WAITING",
      "WAITING",
      "WAITING",
    ]);
  });
  test("events of a child stand in the step that waits for it", () => {
    const run = play([
      ["WorkflowStarted"],
      ["StepStarted", step("packed", { child_run_id: "c1" })],
      ["WorkflowStarted", { run_id: "c1", nested_depth: 1 }],
      ["StepStarted", step("box", { run_id: "c1", nested_depth: 1, child_run_id: "c2" })],
      ["StepStarted", step("deep", { run_id: "c2", nested_depth: 2 })],
      ["StepCompleted", step("deep", { run_id: "c2", nested_depth: 2 })],
      ["WorkflowCompleted", { run_id: "c1", nested_depth: 1, content: 1 }],
    ]);
    expect(run.status).toBe("RUNNING");
    expect(run.step("packed")!.children).toEqual(["packed.box"]);
    expect(run.step("packed.box.deep")!.status).toBe("COMPLETED");
    expect(run.step("packed.box.deep")!.node).toBe(-2);
    // Its records are those of another run; what has none stays within what it stands in.
    run.overlay([{ step_id: "packed", started_at: 1002.4, ended_at: null }]);
    run.overlay([{ step_id: "box", started_at: 1002.5, ended_at: null }], "packed");
    expect(run.step("packed.box")!.from).toBe(1_002_500);
    expect(run.step("packed.box.deep")!.from).toBeGreaterThanOrEqual(1_002_500);
  });
  test("a child's question is told apart from the run's own of the same number", () => {
    const asked = { requirement_id: "2.1", kind: "confirmation" };
    const run = play([
      ["WorkflowStarted"],
      ["StepPaused", step("mine", asked)],
      ["StepStarted", step("packed", { child_run_id: "c1" })],
      ["StepPaused", step("theirs", { ...asked, run_id: "c1", workflow_id: "pack", nested_depth: 1 })],
      ["StepContinued", step("mine")],
    ]);
    expect([...run.questions.values()]).toEqual([{ step: "packed.theirs", run: "c1", workflow: "pack" }]);
  });
  test("text of a model: deltas add up, a reset and a new attempt begin anew", () => {
    const delta = (content: string, attempt = 1): [string, Partial<Frame>] => [
      "RunContent",
      { ...step("a.model[1]"), content, call_id: "a.model[1]", attempt },
    ];
    const start: [string, Partial<Frame>?][] = [
      ["WorkflowStarted"],
      ["StepStarted", step("a")],
      ["ModelRequestStarted", step("a.model[1]")],
    ];
    expect(play([...start, delta("Hel"), delta("lo")]).streams.get("a.model[1]")!.text).toBe("Hello");
    expect(
      play([...start, delta("Hel"), ["RunContentReset", step("a.model[1]")], delta("Bye")]).streams.get(
        "a.model[1]",
      )!.text,
    ).toBe("Bye");
    expect(play([...start, delta("Hel"), delta("Bye", 2)]).streams.get("a.model[1]")!.text).toBe("Bye");
    const ended = play([
      ...start,
      delta("x"),
      [
        "ModelRequestCompleted",
        { ...step("a.model[1]"), usage: { input_tokens: 5, output_tokens: 2 }, usd: 0.5 },
      ],
    ]);
    expect(ended.streams.get("a.model[1]")!.done).toBe(true);
    expect(ended.usage).toMatchObject({ input_tokens: 5, output_tokens: 2, usd: 0.5, calls: 1 });
    expect(ended.step("a")!.usage).toMatchObject({ input_tokens: 5 });
  });
  test("a resumed run goes on, and its failed step begins anew", () => {
    const run = play([
      ["WorkflowStarted"],
      ["StepStarted", step("a")],
      ["StepError", step("a", { error: { kind: "exec", message: "no" } })],
      ["WorkflowError", { error: { message: "no" } }],
      ["WorkflowResumed", { attempt: 2 }],
      ["StepStarted", step("a")],
    ]);
    expect(run.status).toBe("RUNNING");
    expect(run.error).toBe(null);
    expect(run.step("a")!.status).toBe("RUNNING");
    expect(run.step("a")!.error).toBe(null);
  });
  test("a stopped step is cancelled, not failed", () => {
    const run = play([
      ["WorkflowStarted"],
      ["StepStarted", step("a")],
      ["StepError", step("a", { error: { kind: "cancelled", message: "the step was stopped" } })],
    ]);
    expect(run.step("a")!.status).toBe("CANCELLED");
  });
  test("gaps that retention left keep their places", () => {
    const run = new RunFold();
    run.apply({ event: "WorkflowStarted", event_index: 0, created_at: 1 }, "{}");
    run.apply({ event: "StepStarted", event_index: 4, created_at: 2, step_id: "a" }, "{}");
    expect(run.events.map((e) => e.index)).toEqual([0, 1, 2, 3, 4]);
    expect(run.events[2]!.name).toBe("");
  });
});

describe("much", () => {
  const limits: RunFoldLimits = { steps: 500, events: 1000, rawBytes: 20_000, streamChars: 100 };
  function loop(n: number): [string, Partial<Frame>?][] {
    const out: [string, Partial<Frame>?][] = [
      ["WorkflowStarted"],
      ["LoopExecutionStarted", step("l", { max: n })],
    ];
    for (let i = 1; i <= n; ++i) {
      out.push(
        ["LoopIterationStarted", step(`l[${i}]`)],
        ["StepStarted", step(`l[${i}].s`, { input: { i } })],
      );
      out.push(
        ["StepCompleted", step(`l[${i}].s`, { content: i })],
        ["LoopIterationCompleted", step(`l[${i}]`, { go_on: i < n })],
      );
    }
    return out;
  }
  test("a loop without end is held in bounded memory", () => {
    const run = play(loop(5000), limits);
    expect(run.steps.size).toBeLessThanOrEqual(limits.steps);
    expect(run.events.length).toBeLessThanOrEqual(limits.events);
    expect(run.dropped).toBeGreaterThan(9000);
    expect(run.step("l[5000].s")!.status).toBe("COMPLETED");
    expect(run.step("l")!.children.every((c) => run.step(c) !== undefined)).toBe(true);
    expect(run.frameAt(run.nextEvent - 1)).not.toBe(null);
    expect(run.frameAt(run.firstEvent)).toBe(null);
  });
  test("the time of folding grows with the number of events alone", () => {
    const time = (n: number) => {
      const began = performance.now();
      play(loop(n));
      return performance.now() - began;
    };
    time(500);
    const one = Math.max(time(500), 1);
    expect(time(8000) / one).toBeLessThan(120); // 16 is linear, 256 quadratic
  });
});
