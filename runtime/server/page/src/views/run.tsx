// One run: what it asks, its graph, timeline, events, output, and why it waits.
import { useEffect, useMemo, useState } from "preact/hooks";
import { api, ApiError } from "../api/client.ts";
import { isFinal, type Json, type RunStatus, type Waiting } from "../api/types.ts";
import { count, duration, errorText, millis, shortId, usageText, when } from "../model/format.ts";
import type { OutlineNode } from "../model/outline.ts";
import { href, runHref } from "../router.ts";
import { attempt, Button, Empty, ErrorBox, Id, Loading, Menu, Status, Tabs } from "../ui/parts.tsx";
import { go, may, replace, useLoad, useNow, useShortcuts } from "../ui/state.ts";
import { Markdown } from "../ui/markdown.tsx";
import { Value } from "../ui/value.tsx";
import { Questions } from "./answers.tsx";
import { EventsView } from "./events.tsx";
import { GraphView } from "./graph.tsx";
import { ForkDialog, RemoveDialog, SignalDialog } from "./run_dialogs.tsx";
import { CancelDialog } from "./runs.tsx";
import { StepPanel, StreamBox } from "./step.tsx";
import { TimelineView } from "./timeline.tsx";
import { useRun } from "./use_run.ts";

const TABS = ["graph", "timeline", "events", "output", "why"];

/** A run whose workflow the address does not tell: a child, or one from elsewhere. */
export function RunByIdView({ run }: { run: string }) {
  const found = useLoad(() => api.runAnywhere(run), run);
  useEffect(() => {
    if (found.data) replace(runHref(found.data.workflow_id, run));
  }, [found.data]);
  return (
    <div class="view pad">
      {found.error ? (
        <ErrorBox error={found.error} retry={found.reload} />
      ) : (
        <Loading what="Looking for the run" />
      )}
    </div>
  );
}

export function RunView({
  workflow,
  run: runId,
  tab,
  params,
}: {
  workflow: string;
  run: string;
  tab: string;
  params: Record<string, string>;
}) {
  const live = useRun(workflow, runId);
  const { fold, doc } = live;
  const [node, setNode] = useState<OutlineNode | null>(null);
  const [dialog, setDialog] = useState<"" | "cancel" | "fork" | "signal" | "remove">("");
  const [forkFrom, setForkFrom] = useState("");
  // Of two that change apart from each other the later one holds: the events are ahead of the document.
  const status: RunStatus =
    fold.nextEvent > 0 && !(doc && isFinal(doc.status)) ? fold.status : (doc?.status ?? fold.status);
  const final = isFinal(status);
  const now = useNow(final ? 0 : 250);
  const current = TABS.includes(tab)
    ? tab
    : status === "COMPLETED" && params.step === undefined && tab === "output"
      ? "output"
      : "graph";
  const selected = params.step ?? "";
  const nodes = useMemo(() => {
    const out = new Map<number, OutlineNode>();
    const walk = (block: OutlineNode[] | null | undefined) => {
      for (const n of block ?? []) {
        out.set(n.id, n);
        (walk(n.body), walk(n.finally));
        for (const inner of [...(n.arms ?? []), ...(n.branches ?? []), ...(n.catches ?? [])])
          walk(inner.body);
      }
    };
    const outline = live.workflow?.graph;
    walk(outline?.body);
    for (const c of Object.values(outline?.callables ?? {})) walk(c.body);
    return out;
  }, [live.workflow]);

  const to = (next: { tab?: string; step?: string }) =>
    replace(runHref(workflow, runId, next.tab ?? current, { step: next.step ?? (next.tab ? selected : "") }));
  const select = (path: string, n: OutlineNode | null = null) => {
    setNode(n);
    to({ step: path });
  };
  const fork = (from: string) => {
    setForkFrom(from);
    setDialog("fork");
  };
  const retry = () =>
    attempt(
      "It could not be resumed",
      async () => {
        await api.retry(workflow, runId);
        live.reload();
      },
      "The run goes on",
    );
  useShortcuts([
    ...TABS.map((t, i) => ({ keys: String(i + 1), what: `${t}`, run: () => to({ tab: t }) })),
    { keys: "Escape", what: "close the step", run: () => selected && to({ step: "" }) },
    { keys: "c", what: "cancel the run", run: () => !final && may("run") && setDialog("cancel") },
    { keys: "f", what: "fork the run", run: () => may("run") && fork(selected) },
    { keys: "R", what: "resume a failed run", run: () => status === "ERROR" && may("run") && void retry() },
  ]);

  if (live.error && !doc)
    return (
      <div class="view pad">
        <ErrorBox error={live.error} retry={live.reload} />
      </div>
    );
  if (!doc && fold.nextEvent === 0)
    return (
      <div class="view pad">
        <Loading what="Reading the run" />
      </div>
    );

  const from = millis(doc?.started_at) ?? fold.from ?? millis(doc?.created_at);
  const end = final ? (millis(doc?.ended_at) ?? fold.to) : null;
  const problem = errorText(doc?.error) || fold.error || "";
  const requirements = final
    ? []
    : (doc?.step_requirements ?? []).filter(
        (r) => fold.nextEvent === 0 || fold.questions.size === 0 || fold.questions.has(r.id),
      );
  const ofChildren = final ? [] : [...fold.questions.values()].filter((q) => q.run !== "");
  const usage = doc?.usage ?? fold.usage;
  const streams = [...fold.streams.values()].filter((s) => !s.done);
  const step = selected ? fold.step(selected) : undefined;
  return (
    <div class="view run">
      <header class="run-head">
        <div class="run-title">
          <a class="muted" href="#/runs">
            Runs
          </a>
          <span class="muted"> / </span>
          <a href={href(["workflows", workflow])} class="run-workflow">
            {doc?.workflow_name ?? workflow}
          </a>
          <Id id={runId} />
        </div>
        <div class="run-facts">
          <Status status={status} />
          <span class="num" title="Length">
            {from === null ? "–" : duration((end ?? now) - from)}
          </span>
          <span class="muted" title={from === null ? "" : new Date(from).toLocaleString()}>
            {when(from)}
          </span>
          {usage && usageText(usage) && <span class="muted">{usageText(usage)}</span>}
          {doc?.parent_run_id && <a href={runHref("_", doc.parent_run_id)}>parent run</a>}
          {doc?.session_id && doc.session_id !== runId && (
            <a href={href(["sessions", doc.session_id])}>session {shortId(doc.session_id)}</a>
          )}
          {live.stream === "lost" && <span class="tag warn">connection lost, trying again</span>}
        </div>
        <div class="run-actions">
          {!final && may("run") && (
            <Button kind="danger" icon="stop" onClick={() => setDialog("cancel")}>
              Cancel
            </Button>
          )}
          {status === "ERROR" && may("run") && (
            <Button kind="primary" icon="retry" title="Goes on from the failed step" onClick={retry}>
              Resume
            </Button>
          )}
          {may("run") && (
            <Button icon="fork" onClick={() => fork(selected)}>
              Fork
            </Button>
          )}
          <Menu
            items={[
              ...(final || !may("run")
                ? []
                : [{ label: "Send a signal", icon: "signal", run: () => setDialog("signal") }]),
              ...(!final && may("run")
                ? [{ label: "Take over (its process is gone)", icon: "retry", run: () => void retry() }]
                : []),
              {
                label: "Run it again with this input",
                icon: "play",
                run: () => go(href(["workflows", workflow, "start"], { from: runId })),
              },
              {
                label: "Compare with another run",
                icon: "compare",
                run: () => go(href(["compare"], { a: `${workflow}/${runId}` })),
              },
              ...(final && may("run")
                ? [{ label: "Remove", icon: "trash", danger: true, run: () => setDialog("remove") }]
                : []),
            ]}
          />
        </div>
      </header>
      {live.error && <ErrorBox error={live.error} retry={live.reload} />}
      {problem && status === "ERROR" && (
        <div class="error-box" role="alert">
          <strong>The run failed</strong>
          <p class="prewrap">{problem}</p>
        </div>
      )}
      {status === "CANCELLED" && (
        <div class="note-line">Cancelled{fold.reason ? `: ${fold.reason}` : ""}.</div>
      )}
      {ofChildren.map((q) => (
        <div class="note-line" key={q.run + q.step}>
          Step <code>{q.step}</code> of a child run asks something.{" "}
          <a class="text-link" href={runHref(q.workflow || "_", q.run)}>
            Answer it there
          </a>
        </div>
      ))}
      <Questions
        requirements={requirements}
        workflow={workflow}
        runId={runId}
        now={now}
        onAnswered={live.reload}
        onStep={(p) => select(p)}
      />
      <Tabs
        current={current}
        onPick={(t) => to({ tab: t })}
        tabs={[
          { id: "graph", label: "Graph" },
          { id: "timeline", label: "Timeline" },
          { id: "events", label: "Events", note: fold.nextEvent ? fold.nextEvent.toLocaleString("en") : "" },
          { id: "output", label: final ? "Result" : "Output", note: streams.length > 0 ? "live" : "" },
          { id: "why", label: "Why" },
        ]}
      />
      <div class={`run-body${selected && (step || node || current !== "output") ? " with-panel" : ""}`}>
        <div class="run-main">
          {current === "graph" && (
            <GraphView
              outline={live.workflow?.graph ?? null}
              run={fold}
              now={now}
              selected={selected}
              onSelect={(path, box) => select(path, box.node)}
            />
          )}
          {current === "timeline" && (
            <TimelineView run={fold} now={now} selected={selected} onSelect={(p) => select(p)} />
          )}
          {current === "events" && (
            <EventsView
              run={fold}
              workflow={workflow}
              runId={runId}
              stream={live.stream}
              streamError={live.streamError}
              onReadFrom={live.readFrom}
              onStep={(p) => select(p)}
            />
          )}
          {current === "output" && (
            <Output
              status={status}
              content={fold.content ?? doc?.content}
              input={fold.input ?? doc?.input}
              streams={streams}
              name={shortId(runId)}
              onStep={(p) => select(p)}
            />
          )}
          {current === "why" && (
            <Why
              workflow={workflow}
              runId={runId}
              final={final}
              status={status}
              now={now}
              onStep={(p) => select(p)}
            />
          )}
        </div>
        {selected && (
          <StepPanel
            run={fold}
            workflow={workflow}
            runId={runId}
            path={selected}
            node={node ?? nodes.get(step?.node ?? -1) ?? null}
            now={now}
            onClose={() => to({ step: "" })}
            onFork={fork}
            onSelect={(p) => select(p)}
          />
        )}
      </div>
      {dialog === "cancel" && (
        <CancelDialog
          runs={[doc ?? { run_id: runId, workflow_id: workflow, status }]}
          onClose={() => setDialog("")}
          onDone={() => (setDialog(""), live.reload())}
        />
      )}
      {dialog === "fork" && (
        <ForkDialog
          workflow={workflow}
          runId={runId}
          run={fold}
          doc={doc}
          program={live.workflow}
          from={forkFrom}
          onClose={() => setDialog("")}
        />
      )}
      {dialog === "signal" && (
        <SignalDialog
          workflow={workflow}
          runId={runId}
          names={signalNames(fold)}
          onClose={() => setDialog("")}
        />
      )}
      {dialog === "remove" && (
        <RemoveDialog workflow={workflow} runId={runId} onClose={() => setDialog("")} />
      )}
    </div>
  );
}

// The signals that the run waits for now.
function signalNames(fold: ReturnType<typeof useRun>["fold"]): string[] {
  const out: string[] = [];
  for (const s of fold.steps.values()) {
    if (s.waitsFor !== "signal") continue;
    const name = (fold.frameAt(s.inputAt)?.input as { name?: Json } | undefined)?.name;
    if (typeof name === "string" && !out.includes(name)) out.push(name);
  }
  return out;
}

function Output({
  status,
  content,
  input,
  streams,
  name,
  onStep,
}: {
  status: RunStatus;
  content: Json | undefined;
  input: Json | undefined;
  name: string;
  streams: import("../model/step.ts").StreamText[];
  onStep(path: string): void;
}) {
  return (
    <div class="output">
      {streams.map((s) => (
        <section key={s.call}>
          <h3>
            <button type="button" class="link" onClick={() => onStep(s.call)}>
              {s.call}
            </button>
          </h3>
          <StreamBox stream={s} />
        </section>
      ))}
      {status === "COMPLETED" ? (
        <section>
          <h3>Result</h3>
          <Value value={content ?? null} name={name} />
        </section>
      ) : streams.length === 0 ? (
        <Empty title={isFinal(status) ? "The run has no result" : "No result yet"}>
          {isFinal(status) ? "" : "The text of models appears here as it comes."}
        </Empty>
      ) : null}
      {input !== undefined && (
        <section>
          <h3>Input</h3>
          <Value value={input} name={`${name}.input`} />
        </section>
      )}
    </div>
  );
}

function Why({
  workflow,
  runId,
  final,
  status,
  now,
  onStep,
}: {
  workflow: string;
  runId: string;
  final: boolean;
  status: RunStatus;
  now: number;
  onStep(path: string): void;
}) {
  const why = useLoad(
    (signal) => api.why(workflow, runId, signal),
    `${workflow}/${runId}/${status}`,
    final ? 0 : 2000,
  );
  const rows = why.data ?? [];
  return (
    <div class="why">
      <ErrorBox error={why.error instanceof ApiError ? why.error : null} retry={why.reload} />
      {final ? (
        <Empty title="It waits for nothing">The run has ended.</Empty>
      ) : why.loading && !why.data ? (
        <Loading what="Asking what it waits for" />
      ) : rows.length === 0 ? (
        <Empty title="It waits for nothing">What it has to do is under way.</Empty>
      ) : (
        <>
          <p class="muted">The run waits for {count(rows.length, "thing")}.</p>
          <ul class="why-list">
            {rows.map((w, i) => (
              <WhyRow key={(w.step_id ?? "") + i} waiting={w} now={now} onStep={onStep} />
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

function WhyRow({ waiting: w, now, onStep }: { waiting: Waiting; now: number; onStep(path: string): void }) {
  const since = millis(w.since);
  const due = millis(w.due);
  return (
    <li class={`why-row w-${w.what ?? "running"}`}>
      <i class="dot" />
      <div class="grow">
        <Markdown text={w.text} />
        <p class="muted small">
          {w.what && <span class="tag">{w.what}</span>} {since !== null && <>for {duration(now - since)}</>}
          {due !== null && <> · {due > now ? `due in ${duration(due - now)}` : "due"}</>}
        </p>
      </div>
      {w.step_id && (
        <Button kind="quiet" onClick={() => onStep(w.step_id!)}>
          Step
        </Button>
      )}
    </li>
  );
}
