// Sessions: what belongs together over several runs, and the state that they share.
import { useState } from "preact/hooks";
import { api, ApiError } from "../api/client.ts";
import type { Json, Session } from "../api/types.ts";
import { ago, count, pretty } from "../model/format.ts";
import { href } from "../router.ts";
import { attempt, Button, Dialog, Empty, ErrorBox, Id, Loading } from "../ui/parts.tsx";
import { go, may, tell, useLoad, useNow } from "../ui/state.ts";
import { Value } from "../ui/value.tsx";
import { RunLine } from "./runs.tsx";

export function SessionsView() {
  const [older, setOlder] = useState<Session[]>([]);
  const [cursor, setCursor] = useState<string | null | undefined>(undefined);
  const list = useLoad(() => api.sessions(), "sessions", 10_000);
  const now = useNow(5000);
  const next = cursor === undefined ? (list.data?.next ?? null) : cursor;
  const seen = new Set<string>();
  const all = [...(list.data?.data ?? []), ...older].filter(
    (s) => !seen.has(s.session_id) && seen.add(s.session_id),
  );
  return (
    <div class="view">
      <header class="view-head">
        <h1>Sessions</h1>
      </header>
      <ErrorBox error={list.error} retry={list.reload} />
      {list.loading && !list.data ? (
        <Loading what="Asking for the sessions" />
      ) : all.length === 0 && !list.error ? (
        <Empty title="No session yet">
          Every run belongs to one; give several runs the same session to let them share a state.
        </Empty>
      ) : (
        <div class="table-scroll">
          <table class="sessions rows">
            <thead>
              <tr>
                <th>Session</th>
                <th>Workflow</th>
                <th>User</th>
                <th>Runs</th>
                <th>Last used</th>
              </tr>
            </thead>
            <tbody>
              {all.map((s) => (
                <tr key={s.session_id} class="link-row" onClick={() => go(href(["sessions", s.session_id]))}>
                  <td>
                    <a href={href(["sessions", s.session_id])}>
                      {s.session_name ? (
                        <strong>{s.session_name}</strong>
                      ) : (
                        <code title={s.session_id}>{s.session_id}</code>
                      )}
                    </a>
                  </td>
                  <td>{s.workflow_id ?? ""}</td>
                  <td>{s.user_id ?? ""}</td>
                  <td class="num">{s.runs ?? ""}</td>
                  <td class="muted">{ago(s.updated_at, now)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {next && (
        <Button
          icon="down"
          onClick={() =>
            attempt("Older sessions could not be read", async () => {
              const page = await api.sessions(next);
              setOlder((o) => [...o, ...page.data]);
              setCursor(page.next);
            })
          }
        >
          Older sessions
        </Button>
      )}
    </div>
  );
}

export function SessionView({ id }: { id: string }) {
  const session = useLoad(() => api.session(id), id, 5000);
  const runs = useLoad(() => api.sessionRuns(id), id, 3000);
  const now = useNow(1000);
  const [dialog, setDialog] = useState<"" | "rename" | "state" | "remove">("");
  const s = session.data;
  const done = () => (setDialog(""), session.reload());
  return (
    <div class="view run">
      <header class="run-head">
        <div class="run-title">
          <a class="muted" href="#/sessions">
            Sessions
          </a>
          <span class="muted"> / </span>
          <strong class="run-workflow">{s?.session_name || "Session"}</strong>
          <Id id={id} />
        </div>
        <div class="run-facts">
          {s?.workflow_id && <a href={href(["workflows", s.workflow_id])}>{s.workflow_id}</a>}
          {s?.user_id && <span class="muted">user {s.user_id}</span>}
          {s?.updated_at && <span class="muted">used {ago(s.updated_at, now)}</span>}
        </div>
        {may("run") && (
          <div class="run-actions">
            <Button onClick={() => setDialog("rename")}>Rename</Button>
            <Button
              icon="trash"
              kind="quiet"
              label="Remove this session"
              onClick={() => setDialog("remove")}
            />
          </div>
        )}
      </header>
      <ErrorBox error={session.error} retry={session.reload} />
      <div class="output">
        <section>
          <h3>
            State{" "}
            {may("run") && s && (
              <Button kind="quiet" onClick={() => setDialog("state")}>
                Edit
              </Button>
            )}
          </h3>
          {s ? <Value value={s.session_state ?? null} name="state" /> : session.error ? null : <Loading />}
        </section>
        <section>
          <h3>{runs.data ? count(runs.data.data.length, "run") : "Runs"}</h3>
          <ErrorBox error={runs.error} retry={runs.reload} />
          <div class="simple-list">
            {runs.data?.data.map((r) => (
              <RunLine key={r.run_id} run={r} now={now} />
            ))}
          </div>
        </section>
      </div>
      {dialog === "rename" && (
        <Rename id={id} name={s?.session_name ?? ""} onClose={() => setDialog("")} onDone={done} />
      )}
      {dialog === "state" && (
        <EditState id={id} state={s?.session_state ?? {}} onClose={() => setDialog("")} onDone={done} />
      )}
      {dialog === "remove" && (
        <Dialog title="Remove this session?" onClose={() => setDialog("")}>
          <p>Its state and the history of its conversations are removed for good.</p>
          <div class="form-actions">
            <Button
              kind="danger"
              icon="trash"
              onClick={async () => {
                if (
                  await attempt(
                    "The session was not removed",
                    () => api.removeSession(id),
                    "The session is removed",
                  )
                )
                  go("#/sessions");
              }}
            >
              Remove
            </Button>
            <Button kind="quiet" onClick={() => setDialog("")}>
              Keep it
            </Button>
          </div>
        </Dialog>
      )}
    </div>
  );
}

function Rename({
  id,
  name,
  onClose,
  onDone,
}: {
  id: string;
  name: string;
  onClose(): void;
  onDone(): void;
}) {
  const [text, setText] = useState(name);
  const submit = async (e: Event) => {
    e.preventDefault();
    if (
      await attempt(
        "The session was not renamed",
        () => api.renameSession(id, text.trim()),
        "The session has its name",
      )
    )
      onDone();
  };
  return (
    <Dialog title="Rename the session" onClose={onClose}>
      <form onSubmit={submit}>
        <label class="field">
          <span class="field-name">Name</span>
          <input value={text} autofocus onInput={(e) => setText(e.currentTarget.value)} />
        </label>
        <div class="form-actions">
          <Button type="submit" kind="primary">
            Rename
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function EditState({
  id,
  state,
  onClose,
  onDone,
}: {
  id: string;
  state: Json;
  onClose(): void;
  onDone(): void;
}) {
  const [text, setText] = useState(pretty(state));
  const [problem, setProblem] = useState<ApiError | null>(null);
  const submit = async (e: Event) => {
    e.preventDefault();
    let value: Json;
    try {
      value = JSON.parse(text) as Json;
    } catch (error) {
      return setProblem(new ApiError(422, "The state is no JSON", (error as Error).message));
    }
    try {
      await api.patchSession(id, { session_state: value });
      tell("The state is recorded");
      onDone();
    } catch (error) {
      setProblem(error as ApiError);
    }
  };
  return (
    <Dialog title="Edit the state" onClose={onClose} wide>
      <form onSubmit={submit}>
        <p class="muted">
          Runs that are under way see it from their next <code>set</code> on.
        </p>
        <textarea
          class="mono"
          rows={16}
          value={text}
          spellcheck={false}
          aria-label="State as JSON"
          onInput={(e) => setText(e.currentTarget.value)}
        />
        <ErrorBox error={problem} />
        <div class="form-actions">
          <Button type="submit" kind="primary">
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
