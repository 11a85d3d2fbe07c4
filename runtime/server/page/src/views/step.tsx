// One step in full: input, output, attempts, error, usage, and the text of its model as it comes.
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { ApiError } from "../api/client.ts";
import type { Json, StepRecord } from "../api/types.ts";
import { clock, duration, usageText } from "../model/format.ts";
import type { OutlineNode } from "../model/outline.ts";
import { type RunFold } from "../model/run.ts";
import { hasEnded, type Step, type StreamText } from "../model/step.ts";
import { href, runHref } from "../router.ts";
import { Button, ErrorBox, Loading, Status } from "../ui/parts.tsx";
import { may } from "../ui/state.ts";
import { Markdown } from "../ui/markdown.tsx";
import { Value } from "../ui/value.tsx";

interface Props {
  run: RunFold;
  workflow: string;
  runId: string;
  path: string;
  node: OutlineNode | null;
  now: number;
  onClose(): void;
  onFork(path: string): void;
  onSelect(path: string): void;
}

/** The text of a model's call, while it comes and after. */
export function StreamBox({ stream }: { stream: StreamText }) {
  return (
    <div class={`stream${stream.done ? "" : " live"}`}>
      {stream.reasoning && (
        <details open={!stream.text}>
          <summary>Reasoning</summary>
          <pre class="plain muted">{stream.reasoning}</pre>
        </details>
      )}
      {stream.cut > 0 && (
        <p class="muted small">{stream.cut.toLocaleString("en")} characters before this are not held.</p>
      )}
      {stream.text && <Markdown text={stream.text} />}
      {!stream.done && <i class="caret" />}
    </div>
  );
}

export function StepPanel({ run, workflow, runId, path, node, now, onClose, onFork, onSelect }: Props) {
  const step = run.step(path);
  const ended = step ? hasEnded(step.status) : false;
  const { record, error } = useRecord(run, workflow, runId, path, step, ended);
  const held = step ? heldValues(run, step) : {};
  const input = record?.input !== undefined ? record.input : held.input;
  const output =
    record?.content !== undefined && (ended || record.content !== null) ? record.content : held.output;
  const stream = run.streams.get(path);
  const options = Object.entries(node?.options ?? {});
  const attempts = step?.attempts ?? [];
  const usage = record?.usage ?? step?.usage;
  return (
    <aside class="panel" aria-label={`Step ${path}`}>
      <header class="panel-head">
        <div class="grow">
          <code class="muted path">{path}</code>
          <h2>{step?.label || node?.name || step?.name || path}</h2>
        </div>
        <Button kind="quiet" icon="close" label="Close the step" onClick={onClose} />
      </header>
      {node?.doc && <p class="doc">{node.doc}</p>}
      <div class="panel-facts">
        {step ? (
          <Status status={step.status} />
        ) : (
          <span class="muted">The run has not been here{run.to === null ? " yet" : ""}.</span>
        )}
        {step && <span class="num">{duration((step.to ?? now) - step.from)}</span>}
        {step && (
          <span class="muted">
            {clock(step.from, step.exact)}
            {step.to !== null ? ` – ${clock(step.to, step.exact)}` : ""}
          </span>
        )}
        {(step?.callee || node?.callee) && <code>{step?.callee || node?.callee}</code>}
        {step?.cached && <span class="tag">cached</span>}
        {step?.role && <span class="tag">{step.role}</span>}
        {step?.continued && <span class="tag">the run went on</span>}
      </div>
      <div class="panel-actions">
        {step && may("run") && (
          <Button icon="fork" onClick={() => onFork(path)}>
            Fork from here
          </Button>
        )}
        {step?.childRun && (
          <a class="button plain" href={runHref("_", step.childRun)}>
            Open the child run
          </a>
        )}
        {node?.line ? (
          <a class="button quiet" href={href(["workflows", workflow, "source"], { line: String(node.line) })}>
            Line {node.line}
          </a>
        ) : null}
        {step?.parent && (
          <Button kind="quiet" onClick={() => onSelect(step.parent)}>
            Up
          </Button>
        )}
      </div>
      <ErrorBox error={error} title="The step's record cannot be read" />
      {step?.error && (
        <section>
          <h3>{step.status === "RETRYING" ? "Error of the last attempt" : "Error"}</h3>
          <pre class="plain bad">{step.error}</pre>
          <ErrorRecord run={run} step={step} />
        </section>
      )}
      {step?.status === "RETRYING" && attempts.at(-1)?.due && (
        <p>Tried again in {duration(attempts.at(-1)!.due! - now)}.</p>
      )}
      {stream && (stream.text || stream.reasoning) && (
        <section>
          <h3>{stream.done ? "What the model said" : "The model is saying"}</h3>
          <StreamBox stream={stream} />
        </section>
      )}
      {output !== undefined && (!stream || ended) && (
        <section>
          <h3>{step?.status === "PAUSED" ? "Output to be reviewed" : "Output"}</h3>
          <Value value={output} name={path} />
        </section>
      )}
      {step && output === undefined && !record && !ended && step.inputAt >= 0 && (
        <p class="muted">It has no output yet.</p>
      )}
      {input !== undefined && (
        <section>
          <h3>Input</h3>
          <Value value={input} name={`${path}.input`} />
        </section>
      )}
      {!step && (node?.args?.length ?? 0) > 0 && (
        <section>
          <h3>Arguments</h3>
          <dl class="facts">
            {node!.args!.map((a) => (
              <>
                <dt>{a.name}</dt>
                <dd>
                  <code>{a.text}</code>
                </dd>
              </>
            ))}
          </dl>
        </section>
      )}
      {attempts.length > 0 && (attempts.length > 1 || step?.error) && (
        <section>
          <h3>Attempts</h3>
          <table class="attempts">
            <tbody>
              {attempts.map((a, i) => (
                <tr key={i}>
                  <td class="num">{a.number}</td>
                  <td class="mono">{clock(a.from, step!.exact)}</td>
                  <td class="num">{a.to === null ? "…" : duration(a.to - a.from)}</td>
                  <td>
                    {a.error ? (
                      <span class="bad">{a.error}</span>
                    ) : a.to === null ? (
                      "under way"
                    ) : a.reason === "interrupted" ? (
                      "after an interruption"
                    ) : (
                      "went well"
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      {usage && (usage.input_tokens || usage.output_tokens) ? (
        <section>
          <h3>Usage</h3>
          <p>
            {usageText(usage)}
            {usage.calls && usage.calls > 1 ? ` in ${usage.calls} calls` : ""}
          </p>
          <p class="muted small">
            {usage.cached_input_tokens ? `${usage.cached_input_tokens} of the input cached · ` : ""}
            {usage.reasoning_tokens ? `${usage.reasoning_tokens} for reasoning` : ""}
          </p>
        </section>
      ) : null}
      {options.length > 0 && (
        <section>
          <h3>Options</h3>
          <dl class="facts">
            {options.map(([k, v]) => (
              <>
                <dt>{k}</dt>
                <dd>
                  <code>{v}</code>
                </dd>
              </>
            ))}
          </dl>
        </section>
      )}
    </aside>
  );
}

// What the frames that are held say of its input and output.
function heldValues(run: RunFold, step: Step): { input?: Json; output?: Json } {
  const out: { input?: Json; output?: Json } = {};
  const input = run.frameAt(step.inputAt);
  if (input) out.input = (input.input ?? input.step_input) as Json;
  const output = run.frameAt(step.outputAt);
  if (output) out.output = (output.content ?? output.step_output) as Json;
  if (out.input === undefined) delete out.input;
  if (out.output === undefined) delete out.output;
  return out;
}

function ErrorRecord({ run, step }: { run: RunFold; step: Step }) {
  const error = run.frameAt(step.errorAt)?.error as
    { kind?: string; code?: string; status?: number; data?: Json; cause?: Json } | undefined;
  if (!error || typeof error !== "object") return null;
  return (
    <>
      <p class="muted small">
        {[error.kind, error.code, error.status ? `status ${error.status}` : ""].filter(Boolean).join(" · ")}
      </p>
      {error.data !== undefined && error.data !== null && (
        <details>
          <summary>Data</summary>
          <Value value={error.data} name="error" />
        </details>
      )}
      {error.cause !== undefined && error.cause !== null && (
        <details>
          <summary>Cause</summary>
          <Value value={error.cause} name="cause" />
        </details>
      )}
    </>
  );
}

// The record from the server: for what frames do not have (a model's answer) and what was dropped here.
function useRecord(
  run: RunFold,
  workflow: string,
  runId: string,
  path: string,
  step: Step | undefined,
  ended: boolean,
) {
  const [record, setRecord] = useState<StepRecord | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const wanted =
    step !== undefined &&
    step.kind !== "iteration" &&
    step.node >= 0 &&
    ended &&
    (step.kind === "model" ||
      run.frameAt(step.outputAt) === null ||
      (step.inputAt >= 0 && run.frameAt(step.inputAt) === null)) &&
    !["if", "match", "parallel", "for", "loop"].includes(step.kind);
  useEffect(() => {
    setRecord(null);
    setError(null);
    if (!wanted) return;
    let over = false;
    api
      .step(workflow, runId, path)
      .then((r) => !over && setRecord(r))
      .catch((e: ApiError) => !over && setError(e));
    return () => {
      over = true;
    };
  }, [workflow, runId, path, wanted]);
  return { record, error };
}

export function PanelLoading() {
  return (
    <aside class="panel">
      <Loading />
    </aside>
  );
}
