// What can be done to a run beside cancelling it: fork it with other values, send it a signal, remove it.
import { useMemo, useState } from "preact/hooks";
import { api, ApiError, newKey } from "../api/client.ts";
import type { Json, JsonObject, RunDocument, WorkflowDocument } from "../api/types.ts";
import { brief, pretty } from "../model/format.ts";
import { type RunFold } from "../model/run.ts";
import { hasEnded } from "../model/step.ts";
import { runHref } from "../router.ts";
import { SchemaForm } from "../ui/form.tsx";
import { attempt, Button, Dialog, ErrorBox } from "../ui/parts.tsx";
import { go, tell } from "../ui/state.ts";

interface Common {
  workflow: string;
  runId: string;
  onClose(): void;
}

/** The most recorded values that are offered for editing. */
const MOST_VALUES = 200;

export function ForkDialog({
  workflow,
  runId,
  run,
  doc,
  program,
  from,
  onClose,
}: Common & { run: RunFold; doc: RunDocument | null; program: WorkflowDocument | null; from: string }) {
  const steps = useMemo(
    () =>
      [...run.steps.values()].filter(
        (s) => (s.kind === "step" || s.kind === "agent" || s.kind === "team") && s.role === "" && s.node >= 0,
      ),
    [run, run.version],
  );
  const [step, setStep] = useState(from || (steps.find((s) => s.status === "ERROR") ?? steps[0])?.id || "");
  const [edits, setEdits] = useState<ReadonlyMap<string, string>>(new Map());
  const [editInput, setEditInput] = useState(false);
  const [input, setInput] = useState<Json | undefined>(undefined);
  const [problem, setProblem] = useState<ApiError | null>(null);
  const at = steps.findIndex((s) => s.id === step);
  const before = steps
    .slice(0, Math.max(0, at))
    .filter((s) => hasEnded(s.status) && s.status === "COMPLETED")
    .slice(-MOST_VALUES);

  const submit = async () => {
    setProblem(null);
    const set: JsonObject = {};
    for (const [id, text] of edits) {
      if (!before.some((s) => s.id === id)) continue;
      try {
        set[id] = JSON.parse(text) as Json;
      } catch (error) {
        setProblem(
          new ApiError(422, "A value is no JSON", (error as Error).message, [
            { path: id, message: "write it as JSON: texts in quotes" },
          ]),
        );
        return;
      }
    }
    try {
      const made = await api.fork(workflow, runId, {
        from_step: step,
        ...(input !== undefined ? { input } : {}),
        ...(Object.keys(set).length > 0 ? { set } : {}),
      });
      tell("A new run goes on from there");
      onClose();
      go(runHref(workflow, made.run_id));
    } catch (error) {
      setProblem(error as ApiError);
    }
  };
  return (
    <Dialog title="Fork the run" onClose={onClose} wide>
      <p class="muted">
        A new run shares all that was recorded before the step, and does the rest anew. This run stays as it
        is.
      </p>
      <label class="field">
        <span class="field-name">From step</span>
        <select value={step} onChange={(e) => setStep(e.currentTarget.value)}>
          {steps.map((s) => (
            <option key={s.id} value={s.id}>
              {s.id}
              {s.status === "ERROR" ? " (failed)" : ""}
            </option>
          ))}
        </select>
      </label>
      {before.length > 0 && (
        <details class="fork-values">
          <summary>Recorded values{edits.size > 0 ? ` · ${edits.size} edited` : ""}</summary>
          {before.map((s) => {
            const edited = edits.get(s.id);
            const value = run.frameAt(s.outputAt)?.content as Json | undefined;
            return (
              <div class="fork-value" key={s.id}>
                <code class="cut">{s.id}</code>
                {edited === undefined ? (
                  <>
                    <span class="muted cut grow">{value === undefined ? "not held here" : brief(value)}</span>
                    <Button kind="quiet" onClick={() => setEdits(new Map(edits).set(s.id, pretty(value)))}>
                      Edit
                    </Button>
                  </>
                ) : (
                  <>
                    <textarea
                      class="mono grow"
                      rows={Math.min(10, Math.max(2, edited.split("\n").length))}
                      spellcheck={false}
                      aria-label={`Value of ${s.id}`}
                      value={edited}
                      onInput={(e) => setEdits(new Map(edits).set(s.id, e.currentTarget.value))}
                    />
                    <Button
                      kind="quiet"
                      icon="close"
                      label={`Keep the recorded value of ${s.id}`}
                      onClick={() => {
                        const copy = new Map(edits);
                        copy.delete(s.id);
                        setEdits(copy);
                      }}
                    />
                  </>
                )}
              </div>
            );
          })}
        </details>
      )}
      <label class="check">
        <input
          type="checkbox"
          checked={editInput}
          onChange={(e) => (setEditInput(e.currentTarget.checked), setInput(undefined))}
        />{" "}
        with another input
      </label>
      {editInput && (
        <div class="nested">
          <SchemaForm
            id="fork"
            schema={program?.input_schema ?? {}}
            initial={doc?.input ?? run.input}
            submit={input === undefined ? "Use this input" : "Input taken"}
            onSubmit={async (value) => setInput(value)}
          />
          {input === undefined && <p class="muted small">The input counts once it was taken.</p>}
        </div>
      )}
      <ErrorBox error={problem} />
      <div class="form-actions">
        <Button
          kind="primary"
          icon="fork"
          disabled={step === "" || (editInput && input === undefined)}
          onClick={submit}
        >
          Fork
        </Button>
        <Button kind="quiet" onClick={onClose}>
          Close
        </Button>
      </div>
    </Dialog>
  );
}

export function SignalDialog({ workflow, runId, names, onClose }: Common & { names: string[] }) {
  const [name, setName] = useState(names[0] ?? "");
  const [key, setKey] = useState(newKey);
  const [value, setValue] = useState("null");
  const [problem, setProblem] = useState<ApiError | null>(null);
  const submit = async (e: Event) => {
    e.preventDefault();
    let parsed: Json;
    try {
      parsed = JSON.parse(value.trim() || "null") as Json;
    } catch (error) {
      return setProblem(new ApiError(422, "The value is no JSON", (error as Error).message));
    }
    try {
      await api.signal(workflow, runId, name, parsed, key);
      tell(`The signal ${name} is recorded`);
      onClose();
    } catch (error) {
      if ((error as ApiError).status >= 400) setKey(newKey());
      setProblem(error as ApiError);
    }
  };
  return (
    <Dialog title="Send a signal" onClose={onClose}>
      <form onSubmit={submit}>
        <label class="field">
          <span class="field-name">Name</span>
          <input value={name} list="signal-names" autofocus onInput={(e) => setName(e.currentTarget.value)} />
          <datalist id="signal-names">
            {names.map((n) => (
              <option key={n} value={n} />
            ))}
          </datalist>
        </label>
        <label class="field">
          <span class="field-name">
            Value <span class="muted">as JSON</span>
          </span>
          <textarea
            class="mono"
            rows={4}
            value={value}
            spellcheck={false}
            onInput={(e) => setValue(e.currentTarget.value)}
          />
        </label>
        <p class="muted small">A signal that nobody waits for yet is kept until the run does.</p>
        <ErrorBox error={problem} />
        <div class="form-actions">
          <Button type="submit" kind="primary" icon="signal" disabled={!name.trim()}>
            Send
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

export function RemoveDialog({ workflow, runId, onClose }: Common) {
  const remove = async () => {
    if (await attempt("The run was not removed", () => api.remove(workflow, runId), "The run is removed")) {
      onClose();
      go("#/runs");
    }
  };
  return (
    <Dialog title="Remove this run?" onClose={onClose}>
      <p>Its events, values and result are removed from the store for good.</p>
      <div class="form-actions">
        <Button kind="danger" icon="trash" onClick={remove}>
          Remove
        </Button>
        <Button kind="quiet" onClick={onClose}>
          Keep it
        </Button>
      </div>
    </Dialog>
  );
}
