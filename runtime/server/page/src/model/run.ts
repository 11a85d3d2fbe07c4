// A run as its events tell it. Events are folded one after another, each in time that does not grow
// with the run; nothing here knows of the network or the screen.
import type { Frame, Json, RunStatus, StepRecord, Usage } from "../api/types.ts";
import { errorText, millis } from "./format.ts";
import {
  addUsage,
  briefOf,
  type EventRow,
  exactSpans,
  hasEnded,
  LIMITS,
  type OpenQuestion,
  outerPath,
  type RunFoldLimits,
  type SpanKind,
  type Step,
  type StepKind,
  type StepStatus,
  type StreamText,
} from "./step.ts";

const WAITING_CALLEES: Record<string, Step["waitsFor"]> = {
  "signal.wait": "signal",
  "runs.wait": "run",
  sleep: "timer",
  sleep_until: "timer",
};

export class RunFold {
  status: RunStatus = "PENDING";
  input: Json | undefined;
  content: Json | undefined;
  error: string | null = null;
  reason: string | null = null;
  from: number | null = null;
  to: number | null = null;
  /** The latest moment that an event tells. */
  last = 0;
  usage: Usage | null = null;
  steps = new Map<string, Step>();
  roots: string[] = [];
  /** Open questions by requirement; those of child runs by run and requirement. */
  questions = new Map<string, OpenQuestion>();
  streams = new Map<string, StreamText>();
  events: EventRow[] = [];
  /** Index of the first event that is held. */
  firstEvent = 0;
  nextEvent = 0;
  /** Child runs whose events stand in this stream: in which step, and of which workflow ("": not known yet). */
  childRuns = new Map<string, { path: string; workflow: string }>();
  /** Steps that were dropped to save memory. */
  dropped = 0;
  /** Counts changes: a view that has seen this number is up to date. */
  version = 0;

  private rawBytes = 0;
  private rawFrom = 0;
  private records = new Map<string, StepRecord>();
  private callees: Map<number, string>;
  private ours: ReadonlySet<string> = new Set();
  private limits: RunFoldLimits;

  constructor(from = 0, callees = new Map<number, string>(), limits: RunFoldLimits = LIMITS) {
    this.firstEvent = this.nextEvent = from;
    this.callees = callees;
    this.limits = limits;
  }

  /** What the statements call; known once the outline is there. */
  setCallees(callees: Map<number, string>, workflows: ReadonlySet<string> = new Set()) {
    this.callees = callees;
    this.ours = workflows;
    for (const step of this.steps.values()) {
      if (step.callee === "") step.callee = callees.get(step.node) ?? "";
      this.setWaiting(step);
    }
    ++this.version;
  }

  apply(frame: Frame, raw: string | null): void {
    if (frame.event_index < this.nextEvent) return;
    const time = millis(frame.created_at) ?? this.last;
    if (time > this.last) this.last = time;
    this.nextEvent = frame.event_index + 1;
    const depth = Number(frame.nested_depth ?? 0);
    const child = depth > 0 ? this.childRuns.get(String(frame.run_id)) : undefined;
    if (child) child.workflow ||= String(frame.workflow_id ?? "");
    const prefix = child?.path ?? "";
    const id = frame.step_id ? (prefix ? `${prefix}.${frame.step_id}` : frame.step_id) : prefix;
    this.keep(frame, raw, time, id);
    ++this.version;
    const team = frame.event.startsWith("Team") ? frame.event.slice(4) : frame.event;
    if (depth > 0) {
      if (team.startsWith("Workflow")) return; // a child run's own ends are its step's
      // The numbers of statements are those of its program, which may be another one.
      if (!this.ours.has(String(frame.workflow_id))) frame = { ...frame, step_index: -2 };
    }
    this.fold(team, frame, id, time);
    if (this.steps.size > this.limits.steps) this.dropSteps();
  }

  /**
   * Exact times and usage from the steps' records; frames know whole seconds only. Those of a child
   * run with the step that it stands in as `prefix`.
   */
  overlay(records: StepRecord[], prefix = ""): void {
    for (let record of records) {
      if (prefix) record = { ...record, step_id: `${prefix}.${record.step_id}` };
      this.records.set(record.step_id, record);
      const step = this.steps.get(record.step_id);
      if (step) this.refine(step, record);
    }
    this.refineContainers();
    this.keepWithin();
    ++this.version;
  }

  /** The run's own times, exact. */
  setTimes(from: number | null, to: number | null): void {
    if (from !== null) this.from = from;
    if (to !== null && this.to !== null) this.to = to;
    ++this.version;
  }

  /** The frame of an event, if it is still held. */
  frameAt(index: number): Frame | null {
    const raw = index < 0 ? null : this.events[index - this.firstEvent]?.raw;
    return raw ? (JSON.parse(raw) as Frame) : null;
  }

  step(id: string): Step | undefined {
    return this.steps.get(id);
  }

  // ---- events

  private keep(frame: Frame, raw: string | null, time: number, step: string) {
    // Retention may have trimmed events: their places stay empty.
    while (this.firstEvent + this.events.length < frame.event_index) {
      this.events.push({
        index: this.firstEvent + this.events.length,
        name: "",
        step: "",
        time,
        raw: null,
        brief: "",
      });
    }
    this.events.push({ index: frame.event_index, name: frame.event, step, time, raw, brief: briefOf(frame) });
    this.rawBytes += raw?.length ?? 0;
    while (this.rawBytes > this.limits.rawBytes && this.rawFrom < frame.event_index) {
      const row = this.events[this.rawFrom - this.firstEvent];
      if (row?.raw) {
        this.rawBytes -= row.raw.length;
        row.raw = null;
      }
      ++this.rawFrom;
    }
    if (this.events.length > this.limits.events) {
      const gone = this.events.splice(0, Math.ceil(this.limits.events / 10));
      for (const row of gone) this.rawBytes -= row.raw?.length ?? 0;
      this.firstEvent += gone.length;
      this.rawFrom = Math.max(this.rawFrom, this.firstEvent);
    }
  }

  // ---- the run

  private fold(name: string, f: Frame, id: string, time: number) {
    switch (name) {
      case "WorkflowStarted":
        this.status = "RUNNING";
        this.from ??= time;
        this.input = f.input as Json;
        return;
      case "WorkflowCompleted":
        this.content = f.content as Json;
        return this.endRun("COMPLETED", time);
      case "WorkflowError":
        this.error = errorText(f.error);
        return this.endRun("ERROR", time);
      case "WorkflowCancelled":
        this.reason = String(f.reason ?? "");
        return this.endRun("CANCELLED", time);
      case "WorkflowPaused":
        this.status = "PAUSED";
        return;
      case "WorkflowContinued":
        this.status = "RUNNING";
        return;
      case "WorkflowResumed":
        this.status = "RUNNING";
        this.error = null;
        this.to = null;
        return;
    }
    if (id === "") return;
    this.foldStep(name, f, id, time);
  }

  private endRun(status: RunStatus, time: number) {
    this.status = status;
    this.to = time;
    this.questions.clear();
    for (const stream of this.streams.values()) stream.done = true;
    // What a kill leaves open ends with the run.
    for (const step of this.steps.values()) {
      if (!hasEnded(step.status)) this.end(step, status === "COMPLETED" ? "COMPLETED" : "CANCELLED", time);
    }
  }

  // ---- steps

  private foldStep(name: string, f: Frame, id: string, time: number) {
    switch (name) {
      case "StepStarted":
      case "ToolCallStarted":
      case "ModelRequestStarted":
      case "TimerStarted":
        return this.started(name, f, id, time);
      case "StepCompleted":
      case "ToolCallCompleted":
      case "ModelRequestCompleted":
      case "TimerFired": {
        const step = this.open(f, id, time, "step");
        step.outputAt = f.event_index;
        step.cached = f.cached === true;
        if (name === "ModelRequestCompleted") this.used(step, f);
        this.end(step, "COMPLETED", time);
        return;
      }
      case "StepError":
      case "ToolCallError":
      case "ModelRequestError": {
        const step = this.open(f, id, time, "step");
        const kind = (f.error as { kind?: string } | undefined)?.kind;
        step.error = errorText(f.error);
        step.errorAt = f.event_index;
        step.continued = f.continued === true;
        const attempt = step.attempts.at(-1);
        if (attempt && attempt.to === null) attempt.error = step.error;
        this.end(step, kind === "cancelled" ? "CANCELLED" : "ERROR", time);
        return;
      }
      case "StepRetry": {
        const step = this.open(f, id, time, "step");
        const attempt = step.attempts.at(-1);
        step.error = errorText(f.error);
        step.errorAt = f.event_index;
        if (attempt) {
          attempt.to = time;
          attempt.error = step.error;
          attempt.due = millis(f.due as number);
        }
        step.status = "RETRYING";
        this.span(step, "retrying", time);
        return;
      }
      case "StepPaused":
      case "StepOutputReview": {
        const step = this.open(f, id, time, "step");
        if (step.inputAt < 0) step.inputAt = f.event_index;
        if (name === "StepOutputReview") step.outputAt = f.event_index;
        step.status = "PAUSED";
        step.waitsFor = "person";
        this.ask(step, f);
        this.span(step, "waiting", time);
        return;
      }
      case "StepContinued": {
        const step = this.open(f, id, time, "step");
        this.questions.delete(step.requirement);
        step.requirement = "";
        step.waitsFor = null;
        if (!hasEnded(step.status)) {
          step.status = "RUNNING";
          this.span(step, "running", time);
        }
        return;
      }
      case "RunStarted": {
        const step = this.open(f, id, time, "step");
        step.kind = f.event.startsWith("Team") ? "team" : "agent";
        step.callee ||= String(f.agent ?? "");
        return;
      }
      case "RunError":
      case "RunCompleted": {
        const step = this.steps.get(id);
        if (step && f.usage) step.usage = f.usage as Usage;
        return;
      }
      case "RunContent":
      case "ReasoningContentDelta":
        return this.delta(name, f, id);
      case "RunContentReset": {
        const stream = this.streams.get(id);
        if (stream) ((stream.text = ""), (stream.reasoning = ""), (stream.cut = 0));
        return;
      }
      case "ConditionExecutionStarted":
      case "RouterExecutionStarted": {
        const step = this.open(f, id, time, name.startsWith("Cond") ? "if" : "match");
        step.arm = Number(f.arm);
        return;
      }
      case "ParallelExecutionStarted":
        this.open(f, id, time, "parallel");
        return;
      case "ForEachStarted":
        this.open(f, id, time, "for").items = Number(f.items ?? 0);
        return;
      case "LoopExecutionStarted":
        this.open(f, id, time, "loop").items = Number(f.max ?? 0);
        return;
      case "LoopIterationStarted":
        this.open(f, id, time, "iteration");
        return;
      case "ConditionExecutionCompleted":
      case "RouterExecutionCompleted":
      case "ParallelExecutionCompleted":
      case "ForEachCompleted":
      case "LoopExecutionCompleted":
      case "LoopIterationCompleted": {
        const step = this.steps.get(id);
        if (!step) return;
        if (name === "ForEachCompleted") this.endIterations(step, time);
        this.end(step, "COMPLETED", time);
        return;
      }
    }
  }

  // Requirements are numbered within their run.
  private ask(step: Step, f: Frame) {
    if (f.requirement_id === undefined) return;
    const run = Number(f.nested_depth ?? 0) > 0 ? String(f.run_id) : "";
    step.requirement = run ? `${run}/${f.requirement_id}` : String(f.requirement_id);
    this.questions.set(step.requirement, { step: step.id, run, workflow: String(f.workflow_id ?? "") });
  }

  private started(name: string, f: Frame, id: string, time: number) {
    const kind: StepKind =
      name === "ModelRequestStarted" ? "model" : name === "ToolCallStarted" ? "tool" : "step";
    const number = Number(f.attempt ?? 1);
    const known = this.steps.get(id);
    const step =
      known && number > 1
        ? known
        : this.open(f, id, time, kind, known !== undefined && hasEnded(known.status));
    if (number === 1 && f.input !== undefined) step.inputAt = f.event_index;
    if (name === "ModelRequestStarted")
      step.callee = String((f.input as { model?: string } | undefined)?.model ?? step.callee);
    if (typeof f.role === "string") step.role = f.role;
    if (typeof f.child_run_id === "string") {
      step.childRun = f.child_run_id;
      this.childRuns.set(f.child_run_id, { path: id, workflow: "" });
    }
    const before = step.attempts.at(-1);
    if (before && before.to === null) before.to = time;
    step.attempts.push({
      number,
      from: time,
      to: null,
      error: null,
      due: null,
      reason: typeof f.reason === "string" ? f.reason : null,
    });
    step.status = "RUNNING";
    step.waitsFor = name === "TimerStarted" ? "timer" : null;
    this.span(step, step.waitsFor ? "waiting" : "running", time);
    this.setWaiting(step);
  }

  // A step whose work is to wait says so.
  private setWaiting(step: Step) {
    if (step.status !== "RUNNING") return;
    const waits = step.waitsFor ?? WAITING_CALLEES[step.callee] ?? (step.childRun ? "run" : null);
    if (!waits) return;
    step.waitsFor = waits;
    step.status = "WAITING";
    const span = step.spans.at(-1);
    if (span && span.to === null) span.kind = "waiting";
  }

  private used(step: Step, f: Frame) {
    const usage: Usage = { ...(f.usage as Usage), usd: (f.usd as number) ?? 0, calls: 1 };
    step.usage = usage;
    this.usage = addUsage(this.usage, usage);
    const agent = this.steps.get(step.parent);
    if (agent) agent.usage = addUsage(agent.usage, usage);
  }

  private delta(name: string, f: Frame, id: string) {
    const call = String(f.call_id ?? id);
    let stream = this.streams.get(call);
    const attempt = Number(f.attempt ?? 1);
    if (!stream || stream.attempt !== attempt) {
      stream = { call, attempt, text: "", reasoning: "", done: false, cut: 0 };
      this.streams.set(call, stream);
    }
    if (name === "RunContent") stream.text += String(f.content ?? "");
    else stream.reasoning += String(f.content ?? "");
    const over = stream.text.length - this.limits.streamChars;
    if (over > 0) {
      stream.cut += over;
      stream.text = stream.text.slice(over);
    }
  }

  // The step of that path; made if it is new, or begins `anew` (after a resume).
  private open(f: Frame, id: string, time: number, kind: StepKind, anew = false): Step {
    const known = this.steps.get(id);
    if (known && !anew) return known;
    if (known) {
      known.to = null;
      known.error = null;
      known.errorAt = known.outputAt = -1;
      this.count(known, 1, 0);
      known.status = "RUNNING";
      this.span(known, "running", time);
      return known;
    }
    const parent = this.parentOf(id, time);
    const step: Step = {
      id,
      kind,
      parent,
      name: f.step_name ?? id,
      label: f.step_label ?? "",
      node: f.step_index ?? -1,
      children: [],
      status: "RUNNING",
      waitsFor: null,
      from: time,
      to: null,
      spans: [{ kind: "running", from: time, to: null }],
      attempts: [],
      inputAt: -1,
      outputAt: -1,
      errorAt: -1,
      error: null,
      continued: false,
      cached: false,
      usage: null,
      callee: this.callees.get(f.step_index ?? -1) ?? "",
      childRun: "",
      role: "",
      requirement: "",
      arm: null,
      items: null,
      iterations: 0,
      active: 0,
      failed: 0,
      exact: false,
    };
    this.steps.set(id, step);
    (this.steps.get(parent)?.children ?? this.roots).push(id);
    if (kind === "iteration") {
      const loop = this.steps.get(parent);
      if (loop) ++loop.iterations;
    }
    this.count(step, 1, 0);
    const record = this.records.get(id);
    if (record) this.refine(step, record);
    return step;
  }

  // The innermost known step around a path; iterations of a `for` have no event and are made here.
  private parentOf(id: string, time: number): string {
    for (let path = outerPath(id); path !== ""; path = outerPath(path)) {
      if (this.steps.has(path)) return path;
      if (!path.endsWith("]")) continue;
      const outer = this.steps.get(outerPath(path));
      if (outer?.kind !== "for") continue;
      const name = path.slice(outer.id.length);
      this.open({ event: "", event_index: -1, step_name: name, step_index: -1 }, path, time, "iteration");
      return path;
    }
    return "";
  }

  private endIterations(loop: Step, time: number) {
    for (const id of loop.children) {
      const step = this.steps.get(id);
      if (step && !hasEnded(step.status))
        this.end(step, step.failed > 0 ? "ERROR" : "COMPLETED", step.to ?? time);
    }
  }

  private end(step: Step, status: StepStatus, time: number) {
    const was = hasEnded(step.status);
    if (step.requirement) {
      this.questions.delete(step.requirement);
      step.requirement = "";
    }
    const span = step.spans.at(-1);
    if (span && span.to === null) span.to = time;
    const attempt = step.attempts.at(-1);
    if (attempt && attempt.to === null) attempt.to = time;
    step.status = status;
    step.waitsFor = null;
    step.to = time;
    const stream = this.streams.get(step.id);
    if (stream) stream.done = true;
    if (!was) this.count(step, -1, status === "ERROR" && !step.continued ? 1 : 0);
  }

  // Tells all that a step stands in that one more, or one less, goes on in it.
  private count(step: Step, active: number, failed: number) {
    for (let outer = this.steps.get(step.parent); outer; outer = this.steps.get(outer.parent)) {
      outer.active += active;
      outer.failed += failed;
      // An iteration of a `for` ends with the last thing in it; the next one in it opens it again.
      if (outer.node !== -1 || outer.kind !== "iteration") continue;
      if (active < 0 && outer.active === 0) {
        outer.to = step.to;
        const span = outer.spans.at(-1);
        if (span) span.to = step.to;
        outer.status = outer.failed > 0 ? "ERROR" : "COMPLETED";
        --active; // for what is further out it has ended, too
      } else if (active > 0 && hasEnded(outer.status)) {
        outer.to = null;
        const span = outer.spans.at(-1);
        if (span) span.to = null;
        outer.status = "RUNNING";
        ++active;
      }
    }
  }

  private span(step: Step, kind: SpanKind, time: number) {
    const last = step.spans.at(-1);
    if (last && last.to === null) {
      if (last.kind === kind) return;
      last.to = time;
    }
    step.spans.push({ kind, from: time, to: null });
  }

  private refine(step: Step, record: StepRecord) {
    const from = millis(record.started_at);
    const to = millis(record.ended_at);
    if (from === null) return;
    if (record.callee) step.callee ||= record.callee;
    if (record.usage && (record.usage.calls ?? 0) > 0) step.usage = record.usage;
    const ended = hasEnded(step.status);
    step.from = from;
    if (ended && to !== null) step.to = to;
    step.exact = true;
    const attempts = record.attempt_list ?? [];
    for (const a of attempts) {
      const mine = step.attempts.find((x) => x.number === a.attempt);
      const begin = millis(a.started_at);
      if (!mine || begin === null) continue;
      mine.from = begin;
      mine.to = millis(a.ended_at) ?? mine.to;
      mine.due = millis(a.due) ?? mine.due;
      mine.error ??= errorText(a.error) || null;
    }
    step.spans = exactSpans(step, attempts.length > 0);
  }

  // A loop and its iterations have no record: their times are those of what is in them. What stands
  // in a step is younger than it, so the youngest come first.
  private refineContainers() {
    for (const step of [...this.steps.values()].reverse()) {
      if (step.kind !== "iteration" && step.kind !== "for" && step.kind !== "loop") continue;
      let from = Infinity;
      let to = -Infinity;
      for (const id of step.children) {
        const child = this.steps.get(id);
        if (!child?.exact) continue;
        from = Math.min(from, child.from);
        to = Math.max(to, child.to ?? child.from);
      }
      if (!Number.isFinite(from)) continue;
      step.exact = true;
      step.from = from;
      if (hasEnded(step.status)) step.to = Math.max(from, to);
      step.spans = [{ kind: "running", from, to: hasEnded(step.status) ? step.to : null }];
    }
  }

  // What has no exact times is at least no wider than what it stands in.
  private keepWithin() {
    for (const step of this.steps.values()) {
      const outer = this.steps.get(step.parent);
      if (step.exact || !outer || (!outer.exact && outer.node !== -2)) continue;
      const within = (t: number) => Math.max(outer.from, outer.to === null ? t : Math.min(t, outer.to));
      step.from = within(step.from);
      if (step.to !== null) step.to = within(step.to);
      for (const span of step.spans) {
        span.from = within(span.from);
        if (span.to !== null) span.to = within(span.to);
      }
    }
  }

  // The oldest that have ended go, without those that later ones stand in.
  private dropSteps() {
    let most = Math.ceil(this.limits.steps / 5);
    const losing = new Set<string>();
    for (const step of this.steps.values()) {
      if (most === 0) break;
      if (!hasEnded(step.status) || step.active > 0 || step.children.length > 0) continue;
      this.steps.delete(step.id);
      this.streams.delete(step.id);
      losing.add(step.parent);
      ++this.dropped;
      --most;
    }
    for (const id of losing) {
      const outer = this.steps.get(id);
      if (outer) outer.children = outer.children.filter((c) => this.steps.has(c));
      else this.roots = this.roots.filter((c) => this.steps.has(c));
    }
  }
}
