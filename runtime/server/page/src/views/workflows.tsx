// Workflows: the list; and one, with its start form, graph, and source with problems marked.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, ApiError, newKey } from "../api/client.ts";
import type { Diagnostic, Json, JsonObject, SourceFile, WorkflowDocument } from "../api/types.ts";
import { ago, count, shortId } from "../model/format.ts";
import { highlight } from "../model/highlight.ts";
import { type OutlineNode, sizeOf } from "../model/outline.ts";
import { href, runHref } from "../router.ts";
import { SchemaForm } from "../ui/form.tsx";
import { Button, Empty, ErrorBox, Loading, Tabs, VirtualList } from "../ui/parts.tsx";
import { go, may, replace, tellError, useLoad, useNow, useShortcuts } from "../ui/state.ts";
import { JsonText } from "../ui/value.tsx";
import { GraphView } from "./graph.tsx";
import { RunLine } from "./runs.tsx";

export function WorkflowsView() {
  const list = useLoad(() => api.workflows(), "workflows", 5000);
  const sources = useLoad(() => api.sources(), "sources", 5000);
  const [text, setText] = useState("");
  const search = useRef<HTMLInputElement>(null);
  useShortcuts([{ keys: "/", what: "search", run: () => search.current?.focus() }]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = (list.data ?? []).filter((w) =>
    words.every((x) =>
      `${w.id} ${w.name} ${w.description} ${w.file} ${(w.tags ?? []).join(" ")}`.toLowerCase().includes(x),
    ),
  );
  const broken = (sources.data ?? []).filter((s) =>
    (s.diagnostics ?? []).some((d) => d.severity === "error"),
  );
  return (
    <div class="view">
      <header class="view-head">
        <h1>Workflows</h1>
        <span class="grow" />
        <input
          ref={search}
          type="search"
          placeholder="Search workflows"
          aria-label="Search workflows"
          value={text}
          onInput={(e) => setText(e.currentTarget.value)}
        />
      </header>
      <ErrorBox error={list.error} retry={list.reload} />
      {broken.map((s) => (
        <div class="note-line bad" key={s.path}>
          <a href={href(["workflows", (s.workflows ?? [])[0] ?? "_", "source"], { file: s.path })}>
            <code>{s.path}</code>
          </a>{" "}
          has {count((s.diagnostics ?? []).filter((d) => d.severity === "error").length, "error")}
          {s.stale ? "; the last good program is served on." : "; nothing of it is served."}
        </div>
      ))}
      {list.loading && !list.data ? (
        <Loading what="Asking for the workflows" />
      ) : shown.length === 0 && !list.error ? (
        <Empty title={words.length > 0 ? "No workflow is like that" : "No workflow is served"}>
          {words.length > 0 ? "" : "Give kflow serve a file or a folder with .kflow files."}
        </Empty>
      ) : (
        <div class="cards">
          {shown.map((w) => (
            <article class="card" key={w.id}>
              <a href={href(["workflows", w.id])} class="card-main">
                <h2>{w.name ?? w.id}</h2>
                <p>{w.description || <span class="muted">No description.</span>}</p>
                <p class="muted small">
                  <code>{w.file ?? ""}</code>
                  {w.schedule && <> · {w.schedule}</>}
                  {(w.tags ?? []).map((t) => (
                    <span class="tag" key={t}>
                      {t}
                    </span>
                  ))}
                  {w.stale && <span class="tag warn">edited, with errors</span>}
                  {!w.stale && (w.warnings ?? 0) > 0 && (
                    <span class="tag warn">{count(w.warnings!, "warning")}</span>
                  )}
                </p>
              </a>
              <div class="card-actions">
                {may("run") && (
                  <Button icon="play" onClick={() => go(href(["workflows", w.id, "start"]))}>
                    Start
                  </Button>
                )}
                <a class="button quiet" href={href(["runs"], { workflow: w.id })}>
                  Runs
                </a>
              </div>
            </article>
          ))}
        </div>
      )}
    </div>
  );
}

const TABS = ["start", "graph", "source", "runs", "about"];

export function WorkflowView({
  id,
  tab,
  params,
}: {
  id: string;
  tab: string;
  params: Record<string, string>;
}) {
  const version = params.version;
  const found = useLoad(() => api.workflow(id, version), `${id}@${version ?? ""}`);
  const current = TABS.includes(tab) ? tab : "graph";
  const to = (t: string) => replace(href(["workflows", id, t], version ? { version } : {}));
  useShortcuts(TABS.map((t, i) => ({ keys: String(i + 1), what: t, run: () => to(t) })));
  const w = found.data;
  return (
    <div class="view run">
      <header class="run-head">
        <div class="run-title">
          <a class="muted" href="#/workflows">
            Workflows
          </a>
          <span class="muted"> / </span>
          <strong class="run-workflow">{w?.name ?? id}</strong>
        </div>
        <div class="run-facts">
          {w?.file && <code class="muted">{w.file}</code>}
          {version && <span class="tag">version {shortId(version)}</span>}
          {w?.stale && <span class="tag warn">edited, with errors: the last good program is served</span>}
        </div>
        <div class="run-actions">
          {current !== "start" && may("run") && (
            <Button kind="primary" icon="play" onClick={() => to("start")}>
              Start a run
            </Button>
          )}
        </div>
      </header>
      {w?.description && <p class="lead">{w.description}</p>}
      {current === "source" ? null : <ErrorBox error={found.error} retry={found.reload} />}
      <Tabs
        current={current}
        onPick={to}
        tabs={[
          { id: "start", label: "Start" },
          { id: "graph", label: "Graph" },
          { id: "source", label: "Source" },
          { id: "runs", label: "Runs" },
          { id: "about", label: "About" },
        ]}
      />
      {found.loading && !w && current !== "source" ? (
        <Loading />
      ) : (
        <div class="run-body">
          <div class="run-main">
            {current === "start" && w && <Start key={id} workflow={w} from={params.from} />}
            {current === "graph" && w && <Plan workflow={w} />}
            {current === "source" && (
              <Source workflow={id} file={params.file ?? w?.file} line={Number(params.line ?? 0)} />
            )}
            {current === "runs" && <Runs workflow={id} />}
            {current === "about" && w && <About workflow={w} />}
          </div>
        </div>
      )}
    </div>
  );
}

function Start({ workflow: w, from }: { workflow: WorkflowDocument; from: string | undefined }) {
  const [session, setSession] = useState("");
  const [user, setUser] = useState("");
  const [problem, setProblem] = useState<ApiError | null>(null);
  const [more, setMore] = useState(false);
  // One key for one filled form: pressing twice, or again after a lost answer, starts one run.
  const [key, setKey] = useState(newKey);
  const earlier = useLoad<Json | null>(
    async () => (from ? ((await api.runAnywhere(from)).input ?? null) : null),
    from ?? "",
  );
  if (from && earlier.loading) return <Loading what="Reading the earlier input" />;
  return (
    <div class="start">
      {from && earlier.error && (
        <ErrorBox error={earlier.error} title="The earlier run's input cannot be read" />
      )}
      <SchemaForm
        id="start"
        schema={w.input_schema ?? { type: "object", properties: {}, required: [] }}
        initial={earlier.data ?? undefined}
        submit="Start"
        focus
        onSubmit={async (value) => {
          setProblem(null);
          const body: JsonObject = { input: value };
          if (session.trim()) body.session_id = session.trim();
          if (user.trim()) body.user_id = user.trim();
          try {
            const made = await api.start(w.id, body, key);
            go(runHref(w.id, made.run_id));
          } catch (error) {
            if (!(error instanceof ApiError)) return tellError("It was not started", error);
            // What was refused is another question the next time; what was not answered is the same one.
            if (error.status >= 400 && error.status < 500) setKey(newKey());
            if (error.status === 422 && error.fields.length > 0)
              return error.fields.map((f) => ({ ...f, path: f.path.replace(/^input\.?/, "") }));
            setProblem(error);
          }
        }}
      >
        <details class="start-more" open={more} onToggle={(e) => setMore(e.currentTarget.open)}>
          <summary>Session and user</summary>
          <label class="field">
            <span class="field-name">
              Session <span class="muted">optional</span>
            </span>
            <input
              value={session}
              placeholder="a new one"
              onInput={(e) => setSession(e.currentTarget.value)}
            />
          </label>
          <label class="field">
            <span class="field-name">
              User <span class="muted">optional</span>
            </span>
            <input value={user} onInput={(e) => setUser(e.currentTarget.value)} />
          </label>
        </details>
        <ErrorBox
          error={problem}
          title={problem?.status === 429 ? "The queue is full" : "It was not started"}
        />
      </SchemaForm>
    </div>
  );
}

function Plan({ workflow: w }: { workflow: WorkflowDocument }) {
  const [picked, setPicked] = useState<OutlineNode | null>(null);
  const [path, setPath] = useState("");
  if (!w.graph) return <Empty title="The server gives no graph of it" />;
  return (
    <div class={`plan${picked ? " with-panel" : ""}`}>
      <GraphView
        outline={w.graph}
        run={null}
        now={0}
        selected={path}
        onSelect={(p, box) => (setPath(p), setPicked(box.node))}
      />
      {picked && (
        <aside class="panel">
          <header class="panel-head">
            <div class="grow">
              <code class="muted path">{path}</code>
              <h2>{picked.name}</h2>
            </div>
            <Button kind="quiet" icon="close" label="Close" onClick={() => (setPicked(null), setPath(""))} />
          </header>
          {picked.doc && <p class="doc">{picked.doc}</p>}
          <dl class="facts">
            {picked.callee && (
              <>
                <dt>calls</dt>
                <dd>
                  <code>{picked.callee}</code>
                </dd>
              </>
            )}
            {picked.type && (
              <>
                <dt>gives</dt>
                <dd>
                  <code>{picked.type}</code>
                </dd>
              </>
            )}
            {(picked.args ?? []).map((a) => (
              <>
                <dt>{a.name}</dt>
                <dd>
                  <code>{a.text}</code>
                </dd>
              </>
            ))}
            {Object.entries(picked.options ?? {}).map(([k, v]) => (
              <>
                <dt>{k}</dt>
                <dd>
                  <code>{v}</code>
                </dd>
              </>
            ))}
          </dl>
          {w.graph.callables?.[picked.callee ?? ""]?.doc && (
            <p class="doc">{w.graph.callables[picked.callee!]!.doc}</p>
          )}
          {picked.line ? (
            <a class="button plain" href={href(["workflows", w.id, "source"], { line: String(picked.line) })}>
              Line {picked.line}
            </a>
          ) : null}
        </aside>
      )}
    </div>
  );
}

function Source({ workflow, file, line }: { workflow: string; file: string | undefined; line: number }) {
  const sources = useLoad(() => api.sources(), "sources", 3000);
  const now = useNow(5000);
  const source =
    (sources.data ?? []).find((s) => s.path === file) ??
    (sources.data ?? []).find((s) => s.workflows?.includes(workflow));
  if (sources.error && !sources.data) return <ErrorBox error={sources.error} retry={sources.reload} />;
  if (!source)
    return sources.loading ? (
      <Loading what="Reading the source" />
    ) : (
      <Empty title="The server has no source of it">
        It may have been registered by a program, or its file is gone.
      </Empty>
    );
  return <SourceText source={source} line={line} now={now} />;
}

function SourceText({ source, line, now }: { source: SourceFile; line: number; now: number }) {
  const lines = useMemo(() => highlight(source.text ?? ""), [source.text]);
  const problems = useMemo(() => {
    const out = new Map<number, Diagnostic[]>();
    for (const d of source.diagnostics ?? []) out.set(d.line, [...(out.get(d.line) ?? []), d]);
    return out;
  }, [source.diagnostics]);
  const [turn, setTurn] = useState({ index: Math.max(0, line - 1), turn: line > 0 ? 1 : 0 });
  useEffect(() => {
    if (line > 0) setTurn((t) => ({ index: line - 1, turn: t.turn + 1 }));
  }, [line]);
  const all = source.diagnostics ?? [];
  return (
    <div class="source">
      <div class="source-head">
        <code>{source.path}</code>
        {source.stale && <span class="tag warn">has errors; the last good program is served on</span>}
        <span class="grow" />
        <span class="muted small">{source.loaded_at ? `loaded ${ago(source.loaded_at, now)}` : ""}</span>
      </div>
      {all.length > 0 && (
        <ul class="problems">
          {all.map((d, i) => (
            <li key={i} class={d.severity}>
              <button
                type="button"
                class="link"
                onClick={() => setTurn((t) => ({ index: d.line - 1, turn: t.turn + 1 }))}
              >
                {d.line}:{d.column}
              </button>{" "}
              {d.code && <code>{d.code}</code>} {d.message}
              {(d.suggestions ?? []).length > 0 && (
                <span class="muted"> Did you mean {d.suggestions!.map((s) => `\`${s}\``).join(", ")}?</span>
              )}
              {(d.notes ?? []).map((n) => (
                <span class="muted" key={n}>
                  {" "}
                  {n}
                </span>
              ))}
            </li>
          ))}
        </ul>
      )}
      <VirtualList
        class="source-text"
        label={`Source of ${source.path}`}
        count={lines.length}
        rowHeight={21}
        reveal={turn}
        render={(i) => {
          const here = problems.get(i + 1);
          const worst = here?.some((d) => d.severity === "error") ? "error" : here ? "warning" : "";
          return (
            <div
              class={`src-line ${worst}${turn.turn > 0 && turn.index === i ? " here" : ""}`}
              title={here?.map((d) => `${d.code ?? ""} ${d.message}`).join("\n")}
            >
              <span class="src-no">{i + 1}</span>
              <span class="src-code">
                {lines[i]!.map((p, j) => (
                  <span key={j} class={p.kind ? `k-${p.kind}` : ""}>
                    {p.text}
                  </span>
                ))}
                {here && <span class="src-note"> ● {here[0]!.message}</span>}
              </span>
            </div>
          );
        }}
      />
    </div>
  );
}

function Runs({ workflow }: { workflow: string }) {
  const runs = useLoad((signal) => api.runs({ workflow_id: workflow, limit: 50 }, signal), workflow, 2000);
  const now = useNow(1000);
  return (
    <div class="simple-list">
      <ErrorBox error={runs.error} retry={runs.reload} />
      {runs.data?.data.length === 0 && <Empty title="It has not been run yet" />}
      {runs.data?.data.map((r) => (
        <RunLine key={r.run_id} run={r} now={now} />
      ))}
      {runs.data?.next && (
        <a class="button plain" href={href(["runs"], { workflow })}>
          All runs
        </a>
      )}
    </div>
  );
}

function About({ workflow: w }: { workflow: WorkflowDocument }) {
  const options = Object.entries(w.graph?.options ?? {});
  return (
    <div class="output">
      <section>
        <h3>Facts</h3>
        <dl class="facts">
          <dt>result</dt>
          <dd>
            <code>{w.graph?.result ?? "–"}</code>
          </dd>
          <dt>statements</dt>
          <dd>{sizeOf(w.graph?.body)}</dd>
          {w.version && (
            <>
              <dt>version</dt>
              <dd>
                <code>{w.version}</code>
              </dd>
            </>
          )}
          {options.map(([k, v]) => (
            <>
              <dt>{k}</dt>
              <dd>
                <code>{v}</code>
              </dd>
            </>
          ))}
          {w.schedule && (
            <>
              <dt>schedule</dt>
              <dd>
                <code>{w.schedule}</code>
              </dd>
            </>
          )}
        </dl>
      </section>
      {(w.versions ?? []).length > 1 && (
        <section>
          <h3>Versions that runs have used</h3>
          <ul>
            {w.versions!.map((v) => (
              <li key={v}>
                <a href={href(["workflows", w.id, "graph"], { version: v })}>
                  <code>{v}</code>
                </a>
                {v === w.version ? " (served now)" : ""}
              </li>
            ))}
          </ul>
        </section>
      )}
      <section>
        <h3>Schema of the input</h3>
        <JsonText value={w.input_schema} />
      </section>
      {w.output_schema !== undefined && (
        <section>
          <h3>Schema of the result</h3>
          <JsonText value={w.output_schema} />
        </section>
      )}
    </div>
  );
}
