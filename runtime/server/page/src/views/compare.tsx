// Two runs beside one another.
import { useMemo, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { type Json, type RunDocument, type StepRecord } from "../api/types.ts";
import {
  type Change,
  type ComparedStep,
  compareSteps,
  MOST_CHANGES,
  stepLength,
  textLines,
  usageDelta,
  valueChanges,
} from "../model/diff.ts";
import { brief, count, duration, errorText, millis, shortId, when } from "../model/format.ts";
import { href, runHref } from "../router.ts";
import { Button, Empty, ErrorBox, Loading, Segments, Status, VirtualList } from "../ui/parts.tsx";
import { replace, useLoad } from "../ui/state.ts";

interface Side {
  doc: RunDocument;
  steps: StepRecord[];
}

function split(ref: string): [string, string] {
  const at = ref.lastIndexOf("/");
  return [ref.slice(0, at), ref.slice(at + 1)];
}

async function read(ref: string): Promise<Side> {
  const [workflow, run] = split(ref);
  const [doc, steps] = await Promise.all([api.run(workflow, run), api.steps(workflow, run, false)]);
  return { doc, steps };
}

export function CompareView({ params }: { params: Record<string, string> }) {
  const { a = "", b = "" } = params;
  if (!a || !b) return <Pick a={a} b={b} />;
  return <Compared a={a} b={b} />;
}

function Pick({ a, b }: { a: string; b: string }) {
  const one = a || b;
  const [workflow] = split(one || "/");
  const runs = useLoad(
    (signal) => api.runs({ ...(workflow ? { workflow_id: workflow } : {}), limit: 100 }, signal),
    workflow,
  );
  const rows = (runs.data?.data ?? []).filter((r) => `${r.workflow_id}/${r.run_id}` !== one);
  return (
    <div class="view pad">
      <header class="view-head">
        <h1>Compare</h1>
      </header>
      <p class="muted">
        {one ? `Choose the run that ${shortId(split(one)[1])} is compared with.` : "Choose a first run."}
      </p>
      <ErrorBox error={runs.error} retry={runs.reload} />
      {runs.loading ? (
        <Loading />
      ) : rows.length === 0 ? (
        <Empty title="There is no other run" />
      ) : (
        <ul class="pick-list">
          {rows.map((r) => (
            <li key={r.run_id}>
              <button
                type="button"
                onClick={() =>
                  replace(
                    href(
                      ["compare"],
                      one
                        ? { a: one, b: `${r.workflow_id}/${r.run_id}` }
                        : { a: `${r.workflow_id}/${r.run_id}` },
                    ),
                  )
                }
              >
                <Status status={r.status} /> <strong>{r.workflow_id}</strong> <code>{shortId(r.run_id)}</code>{" "}
                <span class="muted">{when(r.started_at ?? r.created_at)}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Compared({ a, b }: { a: string; b: string }) {
  const left = useLoad(() => read(a), a);
  const right = useLoad(() => read(b), b);
  const [show, setShow] = useState<"differs" | "all">("differs");
  const [open, setOpen] = useState("");
  const rows = useMemo(
    () => (left.data && right.data ? compareSteps(left.data.steps, right.data.steps) : []),
    [left.data, right.data],
  );
  const shown = show === "all" ? rows : rows.filter((r) => r.verdict !== "same");
  const picked = rows.find((r) => r.id === open);
  if (left.error || right.error)
    return (
      <div class="view pad">
        <ErrorBox error={left.error} retry={left.reload} />
        <ErrorBox error={right.error} retry={right.reload} />
      </div>
    );
  if (!left.data || !right.data)
    return (
      <div class="view pad">
        <Loading what="Reading both runs" />
      </div>
    );
  const la = left.data.doc;
  const lb = right.data.doc;
  const length = (d: RunDocument) => {
    const from = millis(d.started_at) ?? millis(d.created_at);
    const to = millis(d.ended_at);
    return from === null || to === null ? null : to - from;
  };
  const used = usageDelta(la.usage, lb.usage);
  return (
    <div class="view compare">
      <header class="view-head">
        <h1>Compare</h1>
        <span class="grow" />
        <Button icon="retry" onClick={() => replace(href(["compare"], { a: b, b: a }))}>
          Swap
        </Button>
      </header>
      <div class="compare-heads">
        {[la, lb].map((d, i) => (
          <a class="card" key={i} href={runHref(d.workflow_id, d.run_id)}>
            <div class="compare-head">
              <strong class="compare-letter">{i === 0 ? "A" : "B"}</strong>
              <Status status={d.status} />
              <code>{shortId(d.run_id)}</code>
            </div>
            <div class="muted small">
              {d.workflow_id} · {when(d.started_at ?? d.created_at)} · {duration(length(d))}
            </div>
          </a>
        ))}
      </div>
      <p class="muted">
        {delta(length(la), length(lb))}
        {used.tokens !== 0 && ` · ${used.tokens > 0 ? "+" : ""}${used.tokens} tokens`}
        {used.usd !== 0 && ` · ${used.usd > 0 ? "+" : "−"}$${Math.abs(used.usd).toFixed(4)}`}
      </p>
      <Changed title="Input" a={la.input} b={lb.input} />
      <Changed title="Result" a={la.content} b={lb.content} />
      {errorText(la.error) !== errorText(lb.error) && (
        <Changed title="Error" a={errorText(la.error) || null} b={errorText(lb.error) || null} />
      )}
      <div class="compare-steps-head">
        <h2>Steps</h2>
        <span class="muted">
          {count(rows.filter((r) => r.verdict !== "same").length, "step differs", "steps differ")} of{" "}
          {rows.length}
        </span>
        <span class="grow" />
        <Segments
          label="Which steps"
          value={show}
          onPick={(v) => setShow(v)}
          options={[
            ["differs", "What differs"],
            ["all", "All"],
          ]}
        />
      </div>
      {shown.length === 0 ? (
        <Empty title="All steps are alike" />
      ) : (
        <div
          class={`ev-split${picked ? " opened" : ""}`}
          style={{ height: `min(60vh, ${Math.max(picked ? 320 : 120, 36 + shown.length * 34)}px)` }}
        >
          <div class="compare-table">
            <div class="compare-row compare-names muted small" aria-hidden="true">
              <span>Step</span>
              <span>Calls</span>
              <span>Difference</span>
              <span class="num">A</span>
              <span class="num">B</span>
            </div>
            <VirtualList
              class="compare-list"
              label="Steps"
              count={shown.length}
              rowHeight={34}
              render={(i) => (
                <StepRow
                  row={shown[i]!}
                  current={shown[i]!.id === open}
                  onOpen={() => setOpen(shown[i]!.id === open ? "" : shown[i]!.id)}
                />
              )}
            />
          </div>
          {picked && (
            <aside class="ev-detail">
              <header>
                <code>{picked.id}</code>
                <span class="grow" />
                <Button kind="quiet" icon="close" label="Close" onClick={() => setOpen("")} />
              </header>
              <div class="pad">
                <Changed title="Input" a={picked.a?.input} b={picked.b?.input} />
                <Changed title="Output" a={picked.a?.content} b={picked.b?.content} />
                {picked.a?.error || picked.b?.error ? (
                  <Changed
                    title="Error"
                    a={errorText(picked.a?.error) || null}
                    b={errorText(picked.b?.error) || null}
                  />
                ) : null}
              </div>
            </aside>
          )}
        </div>
      )}
    </div>
  );
}

function delta(a: number | null, b: number | null): string {
  if (a === null || b === null) return "";
  const d = b - a;
  return d === 0 ? "Both took equally long" : `B took ${duration(Math.abs(d))} ${d > 0 ? "longer" : "less"}`;
}

const VERDICTS = { same: "same", differs: "differs", "only-a": "only in A", "only-b": "only in B" } as const;

function StepRow({ row, current, onOpen }: { row: ComparedStep; current: boolean; onOpen(): void }) {
  const a = row.a && stepLength(row.a);
  const b = row.b && stepLength(row.b);
  return (
    <button type="button" class={`compare-row v-${row.verdict}${current ? " current" : ""}`} onClick={onOpen}>
      <code class="cut">{row.id}</code>
      <span class="muted cut">{row.callee}</span>
      <span class="cut verdict">
        {row.verdict === "differs" ? row.what.join(", ") : VERDICTS[row.verdict]}
      </span>
      <span class="num muted">{a == null ? "–" : duration(a)}</span>
      <span class="num muted">{b == null ? "–" : duration(b)}</span>
    </button>
  );
}

function Changed({ title, a, b }: { title: string; a: Json | undefined; b: Json | undefined }) {
  const changes = useMemo(() => valueChanges(a, b), [a, b]);
  if (changes.length === 0) return <p class="muted small">{title}: the same in both.</p>;
  return (
    <section class="changed">
      <h3>{title}</h3>
      {changes.map((c) => (
        <ChangeRow key={c.path} change={c} />
      ))}
      {changes.length >= MOST_CHANGES && <p class="muted small">There are more differences.</p>}
    </section>
  );
}

function ChangeRow({ change: c }: { change: Change }) {
  if (
    typeof c.before === "string" &&
    typeof c.after === "string" &&
    (c.before.includes("\n") || c.after.includes("\n"))
  ) {
    return (
      <div class="change">
        {c.path && <code>{c.path}</code>}
        <pre class="plain diff">
          {textLines(c.before, c.after).map((l, i) => (
            <div key={i} class={l.kind}>
              {l.kind === "same" ? "  " : l.kind === "added" ? "+ " : "− "}
              {l.text}
            </div>
          ))}
        </pre>
      </div>
    );
  }
  return (
    <div class="change two">
      {c.path && <code>{c.path}</code>}
      <div class="removed">
        {c.before === undefined ? <span class="muted">not there</span> : brief(c.before, 600)}
      </div>
      <div class="added">
        {c.after === undefined ? <span class="muted">not there</span> : brief(c.after, 600)}
      </div>
    </div>
  );
}
