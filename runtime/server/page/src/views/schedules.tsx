// Schedules: what starts by itself, when, and a form for a further one.
import { useState } from "preact/hooks";
import { api, ApiError } from "../api/client.ts";
import type { Json, Schedule } from "../api/types.ts";
import { ago, shortId, when } from "../model/format.ts";
import { href, runHref } from "../router.ts";
import { SchemaForm } from "../ui/form.tsx";
import { attempt, Button, Dialog, Empty, ErrorBox, Loading } from "../ui/parts.tsx";
import { go, may, tell, tellError, useLoad, useNow } from "../ui/state.ts";

export function SchedulesView() {
  const list = useLoad(() => api.schedules(), "schedules", 5000);
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<Schedule | null>(null);
  const now = useNow(1000);
  const act = (s: Schedule, what: "enable" | "disable" | "trigger") =>
    attempt(
      `The schedule could not be ${what === "trigger" ? "triggered" : `${what}d`}`,
      async () => {
        const answer = await api.schedule(s.id, what);
        list.reload();
        if (what === "trigger" && answer?.run_id) go(runHref(s.workflow_id, answer.run_id));
      },
      what === "trigger"
        ? "A run is started"
        : what === "enable"
          ? "It will start again"
          : "It starts no more",
    );
  return (
    <div class="view">
      <header class="view-head">
        <h1>Schedules</h1>
        <span class="grow" />
        {may("run") && (
          <Button kind="primary" icon="plus" onClick={() => setAdding(true)}>
            New schedule
          </Button>
        )}
      </header>
      <ErrorBox error={list.error} retry={list.reload} />
      {list.loading && !list.data ? (
        <Loading what="Asking for the schedules" />
      ) : list.data?.length === 0 ? (
        <Empty title="Nothing starts by itself">
          Write <code>schedule: cron("0 9 * * MON")</code> in a workflow, or add a schedule here.
        </Empty>
      ) : (
        <div class="table-scroll">
          <table class="rows">
            <thead>
              <tr>
                <th>Workflow</th>
                <th>When</th>
                <th>Next</th>
                <th>Last</th>
                <th>If one still runs</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {list.data?.map((s) => (
                <tr key={s.id} class={s.enabled === false ? "off" : ""}>
                  <td>
                    <a href={href(["workflows", s.workflow_id])}>
                      <strong>{s.workflow_id}</strong>
                    </a>
                    <div class="muted small">{s.id}</div>
                  </td>
                  <td>
                    <code>{s.cron}</code>
                    <div class="muted small">{s.tz || "UTC"}</div>
                  </td>
                  <td>
                    {s.enabled === false ? (
                      <span class="tag">off</span>
                    ) : (
                      <span title={when(s.next_at)}>{ago(s.next_at, now)}</span>
                    )}
                  </td>
                  <td>
                    {s.last_run_id ? (
                      <a href={runHref(s.workflow_id, s.last_run_id)}>
                        {s.last_at ? ago(s.last_at, now) : shortId(s.last_run_id)}
                      </a>
                    ) : (
                      <span class="muted">never</span>
                    )}
                  </td>
                  <td class="muted">{s.overlap ?? ""}</td>
                  <td class="row-actions">
                    {may("run") && (
                      <>
                        <Button onClick={() => act(s, "trigger")} icon="play">
                          Start now
                        </Button>
                        <Button
                          kind="quiet"
                          onClick={() => act(s, s.enabled === false ? "enable" : "disable")}
                        >
                          {s.enabled === false ? "Enable" : "Disable"}
                        </Button>
                        {!s.from_file && (
                          <Button
                            kind="quiet"
                            icon="trash"
                            label="Remove this schedule"
                            onClick={() => setRemoving(s)}
                          />
                        )}
                      </>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {adding && (
        <AddDialog onClose={() => setAdding(false)} onDone={() => (setAdding(false), list.reload())} />
      )}
      {removing && (
        <Dialog title="Remove this schedule?" onClose={() => setRemoving(null)}>
          <p>
            <code>{removing.cron}</code> of <strong>{removing.workflow_id}</strong> starts no more. Its runs
            stay.
          </p>
          <div class="form-actions">
            <Button
              kind="danger"
              icon="trash"
              onClick={async () => {
                if (
                  await attempt(
                    "The schedule was not removed",
                    () => api.removeSchedule(removing.id),
                    "The schedule is removed",
                  )
                )
                  (setRemoving(null), list.reload());
              }}
            >
              Remove
            </Button>
            <Button kind="quiet" onClick={() => setRemoving(null)}>
              Keep it
            </Button>
          </div>
        </Dialog>
      )}
    </div>
  );
}

function AddDialog({ onClose, onDone }: { onClose(): void; onDone(): void }) {
  const workflows = useLoad(() => api.workflows(), "workflows");
  const [workflow, setWorkflow] = useState("");
  const chosen = workflow || (workflows.data?.[0]?.id ?? "");
  const program = useLoad(async () => (chosen ? api.workflow(chosen) : null), chosen);
  const [cron, setCron] = useState("0 9 * * MON");
  const [tz, setTz] = useState(Intl.DateTimeFormat().resolvedOptions().timeZone);
  const [overlap, setOverlap] = useState("skip");
  const [problem, setProblem] = useState<ApiError | null>(null);
  const submit = async (input: Json) => {
    setProblem(null);
    try {
      await api.addSchedule({ workflow_id: chosen, cron, overlap, input, ...(tz ? { tz } : {}) });
      tell("The schedule is recorded");
      onDone();
    } catch (error) {
      if (!(error instanceof ApiError)) return tellError("It was not recorded", error);
      const fields = error.fields.filter((f) => f.path.startsWith("input"));
      if (fields.length > 0 && fields.length === error.fields.length)
        return fields.map((f) => ({ ...f, path: f.path.replace(/^input\.?/, "") }));
      setProblem(error);
    }
  };
  return (
    <Dialog title="New schedule" onClose={onClose} wide>
      <label class="field">
        <span class="field-name">Workflow</span>
        <select value={chosen} onChange={(e) => setWorkflow(e.currentTarget.value)}>
          {workflows.data?.map((w) => (
            <option key={w.id} value={w.id}>
              {w.id}
            </option>
          ))}
        </select>
      </label>
      <div class="field-row">
        <label class="field">
          <span class="field-name">
            When <span class="muted">minute hour day month weekday</span>
          </span>
          <input class="mono" value={cron} onInput={(e) => setCron(e.currentTarget.value)} />
        </label>
        <label class="field">
          <span class="field-name">Time zone</span>
          <input value={tz} placeholder="UTC" onInput={(e) => setTz(e.currentTarget.value)} />
        </label>
        <label class="field">
          <span class="field-name">If one still runs</span>
          <select value={overlap} onChange={(e) => setOverlap(e.currentTarget.value)}>
            <option value="skip">skip</option>
            <option value="queue">queue</option>
            <option value="allow">allow</option>
            <option value="cancel_oldest">cancel the oldest</option>
          </select>
        </label>
      </div>
      <ErrorBox error={problem ?? workflows.error ?? program.error} />
      {program.data?.id === chosen && (
        <SchemaForm
          key={chosen}
          id="schedule"
          schema={program.data.input_schema ?? { type: "object", properties: {}, required: [] }}
          submit="Add"
          onSubmit={submit}
        />
      )}
    </Dialog>
  );
}
