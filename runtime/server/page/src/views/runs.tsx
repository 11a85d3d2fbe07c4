// The list of runs: live, filtered, searched, with saved views and actions on many at once.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { isFinal, RUN_STATUSES, type RunRow, type RunStatus } from "../api/types.ts";
import {
  fromParams,
  loadViews,
  matches,
  NO_FILTERS,
  queryOf,
  type RunFilters,
  saveViews,
  SINCE,
  toParams,
} from "../model/filters.ts";
import { ago, brief, count, duration, errorText, millis, shortId, usageText } from "../model/format.ts";
import { href, runHref } from "../router.ts";
import {
  attempt,
  Button,
  Dialog,
  Empty,
  ErrorBox,
  Icon,
  Loading,
  Status,
  statusWord,
  VirtualList,
} from "../ui/parts.tsx";
import { go, may, replace, route, tell, tellError, useLoad, useNow, useShortcuts } from "../ui/state.ts";

const PAGE = 100;
const EVERY_MS = 2000;

const shortStorage = {
  getItem: (k: string) => {
    try {
      return localStorage.getItem(k);
    } catch {
      return null;
    }
  },
  setItem: (k: string, v: string) => {
    try {
      localStorage.setItem(k, v);
    } catch {
      tellError("The view could not be saved", new Error("this browser bars storage"));
    }
  },
};

export function RunsView() {
  const filters = fromParams(route.value.params);
  const set = (next: Partial<RunFilters>) => replace(href(["runs"], toParams({ ...filters, ...next })));
  const [cursor, setCursor] = useState<string | null>(null);
  const [older, setOlder] = useState<RunRow[]>([]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [at, setAt] = useState(0);
  const [turn, setTurn] = useState(0);
  const [cancelling, setCancelling] = useState<RunRow[] | null>(null);
  const search = useRef<HTMLInputElement>(null);
  const key = JSON.stringify({ ...filters, text: "" });
  const now = useNow(1000);

  useEffect(() => {
    setOlder([]);
    setCursor(null);
    setChosen(new Set());
    setAt(0);
  }, [key]);
  const latest = useLoad(
    (signal) => api.runs({ ...queryOf(filters, Date.now()), limit: PAGE }, signal),
    key,
    EVERY_MS,
  );
  const workflows = useLoad(() => api.workflows(), "workflows", 30_000);
  const next = older.length > 0 ? cursor : (latest.data?.next ?? null);

  const rows = useMemo(() => {
    const seen = new Set<string>();
    const all: RunRow[] = [];
    for (const r of [...(latest.data?.data ?? []), ...older]) {
      if (seen.has(r.run_id)) continue;
      seen.add(r.run_id);
      if (matches(r, filters.text)) all.push(r);
    }
    return all;
  }, [latest.data, older, filters.text]);

  const more = async () => {
    if (!next) return;
    const page = await api.runs({ ...queryOf(filters, Date.now()), limit: PAGE, cursor: next });
    setOlder((o) => [...o, ...page.data]);
    setCursor(page.next);
  };
  const toggle = (id: string) => {
    const copy = new Set(chosen);
    if (!copy.delete(id)) copy.add(id);
    setChosen(copy);
  };
  const chosenRows = rows.filter((r) => chosen.has(r.run_id));
  const open = chosenRows.filter((r) => !isFinal(r.status));
  const move = (by: number) => {
    setAt((i) => Math.max(0, Math.min(rows.length - 1, i + by)));
    setTurn((t) => t + 1);
  };
  const current = rows[at];
  useShortcuts([
    { keys: "j, ArrowDown", what: "next run", run: () => move(1) },
    { keys: "k, ArrowUp", what: "previous run", run: () => move(-1) },
    {
      keys: "Enter, o",
      what: "open the run",
      run: () => current && go(runHref(current.workflow_id, current.run_id)),
    },
    { keys: "x", what: "choose the run", run: () => current && toggle(current.run_id) },
    {
      keys: "a",
      what: "choose all, or none",
      run: () => setChosen(chosen.size > 0 ? new Set() : new Set(rows.map((r) => r.run_id))),
    },
    { keys: "c", what: "cancel the chosen runs", run: () => open.length > 0 && setCancelling(open) },
    { keys: "/", what: "search", run: () => search.current?.focus() },
  ]);

  const toggleStatus = (s: RunStatus) =>
    set({
      statuses: filters.statuses.includes(s)
        ? filters.statuses.filter((x) => x !== s)
        : [...filters.statuses, s],
    });
  const pristine = JSON.stringify(filters) === JSON.stringify(NO_FILTERS);

  return (
    <div class="view runs">
      <header class="view-head">
        <h1>Runs</h1>
        <span class="grow" />
        {may("run") && (
          <Button
            kind="primary"
            icon="play"
            onClick={() =>
              go(filters.workflow ? href(["workflows", filters.workflow, "start"]) : "#/workflows")
            }
          >
            Start a run
          </Button>
        )}
      </header>
      <div class="filters">
        <div class="search">
          <Icon name="search" size={16} />
          <input
            ref={search}
            type="search"
            placeholder="Search these runs: id, step, error…"
            aria-label="Search these runs"
            value={filters.text}
            onInput={(e) => set({ text: e.currentTarget.value })}
          />
        </div>
        <select
          aria-label="Workflow"
          value={filters.workflow}
          onChange={(e) => set({ workflow: e.currentTarget.value })}
        >
          <option value="">All workflows</option>
          {filters.workflow && !workflows.data?.some((w) => w.id === filters.workflow) && (
            <option>{filters.workflow}</option>
          )}
          {workflows.data?.map((w) => (
            <option key={w.id} value={w.id}>
              {w.id}
            </option>
          ))}
        </select>
        <select
          aria-label="Started within"
          value={filters.since}
          onChange={(e) => set({ since: e.currentTarget.value })}
        >
          {SINCE.map(([v, text]) => (
            <option key={v} value={v}>
              {text}
            </option>
          ))}
        </select>
        <label class="check">
          <input
            type="checkbox"
            checked={filters.children}
            onChange={(e) => set({ children: e.currentTarget.checked })}
          />{" "}
          child runs
        </label>
        <SavedViews filters={filters} onPick={(f) => replace(href(["runs"], toParams(f)))} />
      </div>
      <div class="chips" role="group" aria-label="Status">
        {RUN_STATUSES.map((s) => (
          <button
            type="button"
            key={s}
            class={`chip s-${s.toLowerCase()}${filters.statuses.includes(s) ? " on" : ""}`}
            aria-pressed={filters.statuses.includes(s)}
            onClick={() => toggleStatus(s)}
          >
            <i class="dot" /> {statusWord(s)}
          </button>
        ))}
        {filters.session && (
          <button type="button" class="chip on" onClick={() => set({ session: "" })}>
            session {shortId(filters.session)} ×
          </button>
        )}
        {filters.tag && (
          <button type="button" class="chip on" onClick={() => set({ tag: "" })}>
            tag {filters.tag} ×
          </button>
        )}
        {!pristine && (
          <Button kind="quiet" onClick={() => replace(href(["runs"]))}>
            Clear
          </Button>
        )}
        <span class="grow" />
        <span class="muted small live-note" title="The list is asked for every two seconds">
          {latest.error ? (
            ""
          ) : (
            <>
              <i class="dot pulse" /> live
            </>
          )}
          {latest.data?.total != null &&
            ` · ${latest.data.total >= 10_000 ? "10 000+" : count(latest.data.total, "run")}`}
        </span>
      </div>
      <ErrorBox error={latest.error} retry={latest.reload} />
      {latest.loading && !latest.data ? (
        <Loading what="Asking for the runs" />
      ) : rows.length === 0 && !latest.error ? (
        <Empty title={pristine ? "No run yet" : "No run is like that"}>
          {pristine
            ? "Start one from a workflow, or with kflow run FILE --background."
            : "Change the filters or the search."}
        </Empty>
      ) : (
        <>
          <div class="run-row head" aria-hidden="true">
            <span>
              <input
                type="checkbox"
                tabIndex={-1}
                checked={chosen.size > 0 && chosenRows.length === rows.length}
                onChange={() =>
                  setChosen(
                    chosenRows.length === rows.length ? new Set() : new Set(rows.map((r) => r.run_id)),
                  )
                }
              />
            </span>
            <span>Status</span>
            <span>Workflow</span>
            <span>Run</span>
            <span>Step</span>
            <span>Started</span>
            <span>Length</span>
          </div>
          <VirtualList
            class="run-list"
            label="Runs"
            count={rows.length + (next ? 1 : 0)}
            rowHeight={52}
            reveal={{ index: at, turn }}
            render={(i) => {
              const r = rows[i];
              if (!r)
                return (
                  <div class="run-more">
                    <Button icon="down" onClick={() => attempt("Older runs could not be read", more)}>
                      Older runs
                    </Button>
                  </div>
                );
              return (
                <RunLine
                  run={r}
                  now={now}
                  current={i === at}
                  chosen={chosen.has(r.run_id)}
                  onChoose={() => (setAt(i), toggle(r.run_id))}
                />
              );
            }}
          />
        </>
      )}
      {chosen.size > 0 && (
        <div class="bulk" role="region" aria-label="Chosen runs">
          <strong>{count(chosen.size, "run")} chosen</strong>
          {chosenRows.length === 2 && (
            <Button
              icon="compare"
              onClick={() => go(href(["compare"], { a: ref(chosenRows[1]!), b: ref(chosenRows[0]!) }))}
            >
              Compare
            </Button>
          )}
          <Button
            kind="danger"
            icon="stop"
            disabled={open.length === 0 || !may("run")}
            onClick={() => setCancelling(open)}
          >
            {open.length === 0 ? "Cancel" : `Cancel ${open.length}`}
          </Button>
          <Button kind="quiet" onClick={() => setChosen(new Set())}>
            Choose none
          </Button>
        </div>
      )}
      {cancelling && (
        <CancelDialog
          runs={cancelling}
          onClose={() => setCancelling(null)}
          onDone={() => (setCancelling(null), setChosen(new Set()), latest.reload())}
        />
      )}
    </div>
  );
}

const ref = (r: RunRow) => `${r.workflow_id}/${r.run_id}`;

export function RunLine({
  run,
  now,
  current = false,
  chosen,
  onChoose,
}: {
  run: RunRow;
  now: number;
  current?: boolean;
  chosen?: boolean;
  onChoose?(): void;
}) {
  const from = millis(run.started_at) ?? millis(run.created_at);
  const to = millis(run.ended_at);
  const problem = errorText(run.error);
  return (
    <a
      class={`run-row${current ? " current" : ""}${chosen ? " chosen" : ""}`}
      href={runHref(run.workflow_id, run.run_id)}
    >
      <span onClick={(e) => e.stopPropagation()}>
        {onChoose && (
          <input
            type="checkbox"
            aria-label={`Choose run ${shortId(run.run_id)}`}
            checked={chosen ?? false}
            onChange={onChoose}
          />
        )}
      </span>
      <Status status={run.status} />
      <strong class="cut">{run.workflow_name ?? run.workflow_id}</strong>
      <code title={run.run_id}>{shortId(run.run_id)}</code>
      <span class={`cut at${problem ? " bad" : ""}`} title={problem || (run.current_step ?? "")}>
        {problem ? brief(problem, 160) : (run.current_step ?? usageText(run.usage))}
      </span>
      <span class="muted when" title={from === null ? "" : new Date(from).toLocaleString()}>
        {ago(from, now)}
      </span>
      <span class="num">{from === null ? "–" : duration((to ?? now) - from)}</span>
    </a>
  );
}

/** Cancels one run or many, one after another, and tells what each answered. */
export function CancelDialog({ runs, onClose, onDone }: { runs: RunRow[]; onClose(): void; onDone(): void }) {
  const [reason, setReason] = useState("");
  const [kill, setKill] = useState(false);
  const [done, setDone] = useState<number | null>(null);
  const one = runs.length === 1;
  const submit = async () => {
    const failures: string[] = [];
    for (let i = 0; i < runs.length; ++i) {
      setDone(i);
      const r = runs[i]!;
      try {
        await api.cancel(r.workflow_id, r.run_id, kill, reason);
      } catch (error) {
        failures.push(`${shortId(r.run_id)}: ${(error as Error).message}`);
      }
    }
    const good = runs.length - failures.length;
    if (good > 0) tell(one ? "The run is asked to stop" : `${count(good, "run")} asked to stop`);
    if (failures.length > 0)
      tellError(
        `${count(failures.length, "run")} could not be cancelled`,
        new Error(failures.slice(0, 10).join("\n")),
      );
    onDone();
  };
  return (
    <Dialog title={one ? "Cancel this run?" : `Cancel ${runs.length} runs?`} onClose={onClose}>
      <p>
        What is under way is stopped, child runs are cancelled, and what has an <code>undo</code> is undone.
        That is recorded and cannot be taken back.
      </p>
      <label class="field">
        <span class="field-name">
          Reason <span class="muted">optional</span>
        </span>
        <input
          value={reason}
          autofocus
          onInput={(e) => setReason(e.currentTarget.value)}
          placeholder="told in the run's last event"
        />
      </label>
      <label class="check">
        <input type="checkbox" checked={kill} onChange={(e) => setKill(e.currentTarget.checked)} /> Kill: wait
        for nothing and undo nothing
      </label>
      <div class="form-actions">
        <Button kind="danger" icon="stop" onClick={submit}>
          {done === null
            ? one
              ? "Cancel the run"
              : `Cancel ${runs.length} runs`
            : `${done + 1} of ${runs.length}…`}
        </Button>
        <Button kind="quiet" onClick={onClose}>
          Keep {one ? "it" : "them"}
        </Button>
      </div>
    </Dialog>
  );
}

function SavedViews({ filters, onPick }: { filters: RunFilters; onPick(f: RunFilters): void }) {
  const [views, setViews] = useState(() => loadViews(shortStorage));
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const put = (all: typeof views) => {
    setViews(all);
    saveViews(shortStorage, all);
  };
  const same = views.find((v) => JSON.stringify(v.filters) === JSON.stringify(filters));
  const save = (e: Event) => {
    e.preventDefault();
    if (!name.trim()) return;
    put([...views.filter((v) => v.name !== name.trim()), { name: name.trim(), filters }]);
    setNaming(false);
    setName("");
  };
  return (
    <div class="saved">
      {views.length > 0 && (
        <select
          aria-label="Saved views"
          value={same?.name ?? ""}
          onChange={(e) => {
            const v = views.find((x) => x.name === e.currentTarget.value);
            if (v) onPick(v.filters);
          }}
        >
          <option value="" disabled>
            Saved views
          </option>
          {views.map((v) => (
            <option key={v.name}>{v.name}</option>
          ))}
        </select>
      )}
      {same ? (
        <Button
          kind="quiet"
          icon="trash"
          label={`Delete the view ${same.name}`}
          onClick={() => put(views.filter((v) => v !== same))}
        />
      ) : (
        <Button kind="quiet" icon="save" label="Save this view" onClick={() => setNaming(true)} />
      )}
      {naming && (
        <Dialog title="Save this view" onClose={() => setNaming(false)}>
          <form onSubmit={save}>
            <label class="field">
              <span class="field-name">Name</span>
              <input value={name} autofocus onInput={(e) => setName(e.currentTarget.value)} />
            </label>
            <p class="muted small">
              Filters and search are kept in this browser. The address of the page has them too: it can be
              sent to somebody.
            </p>
            <div class="form-actions">
              <Button type="submit" kind="primary" disabled={!name.trim()}>
                Save
              </Button>
            </div>
          </form>
        </Dialog>
      )}
    </div>
  );
}
