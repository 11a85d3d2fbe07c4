// What a paused run asks of people, each question with its form.
import { useState } from "preact/hooks";
import { api, ApiError, type FieldProblem } from "../api/client.ts";
import type { Answer, Json, Requirement } from "../api/types.ts";
import { ago, millis } from "../model/format.ts";
import { SchemaForm } from "../ui/form.tsx";
import { Markdown } from "../ui/markdown.tsx";
import { Button, Icon } from "../ui/parts.tsx";
import { may, tell, tellError } from "../ui/state.ts";
import { Value } from "../ui/value.tsx";

interface Props {
  requirements: Requirement[];
  workflow: string;
  runId: string;
  now: number;
  onAnswered(): void;
  onStep(path: string): void;
}

export function Questions({ requirements, ...rest }: Props) {
  if (requirements.length === 0) return null;
  return (
    <section class="questions" aria-label="Questions">
      {requirements.map((r, i) => (
        <Question key={r.id} requirement={r} first={i === 0} {...rest} />
      ))}
    </section>
  );
}

const TITLES: Record<string, string> = {
  confirmation: "May it go on?",
  user_input: "It needs an answer",
  output_review: "Is this good?",
  tool_confirmation: "May the model call this?",
};

function Question({
  requirement: r,
  first,
  workflow,
  runId,
  now,
  onAnswered,
  onStep,
}: Omit<Props, "requirements"> & { requirement: Requirement; first: boolean }) {
  const [open, setOpen] = useState(first);
  const [editing, setEditing] = useState(false);
  const [feedback, setFeedback] = useState("");
  const send = async (answer: Omit<Answer, "id">): Promise<FieldProblem[] | void> => {
    try {
      await api.answer(workflow, runId, [
        { id: r.id, ...answer, ...(feedback.trim() ? { feedback: feedback.trim() } : {}) },
      ]);
      tell("The answer is recorded");
      onAnswered();
    } catch (error) {
      if (error instanceof ApiError && error.status === 422 && error.fields.length > 0) {
        tellError("The answer does not fit", error);
        return error.fields.map((f) => ({
          ...f,
          path: f.path.replace(/^(step_requirements\[\d+\]\.)?(user_input|edited_output)\.?/, ""),
        }));
      }
      tellError("The answer was not taken", error);
      if (error instanceof ApiError && error.status === 409) onAnswered();
    }
  };
  const input = r.show ?? showOf(r);
  const review = r.kind === "output_review";
  const form = r.kind === "user_input";
  const hasInput = input !== undefined && input !== null;
  const expires = millis(r.expires_at);
  return (
    <article class="question">
      <header>
        <Icon name="person" />
        <div class="grow">
          <span class="muted small">
            {TITLES[r.kind] ?? "It waits for a person"} ·{" "}
            <button type="button" class="link" onClick={() => onStep(r.step_id)}>
              {r.step_id}
            </button>
          </span>
          <div class="question-text">
            <Markdown text={r.message || "The run waits for an answer."} />
          </div>
        </div>
        {expires !== null && (
          <span class="tag" title={new Date(expires).toLocaleString()}>
            until {ago(expires, now)}
          </span>
        )}
        <Button
          kind="quiet"
          icon={open ? "down" : "right"}
          label={open ? "Fold the question" : "Open the question"}
          onClick={() => setOpen(!open)}
        />
      </header>
      {open && (
        <div class={`question-body${hasInput || (review && !editing) ? " two" : ""}`}>
          {(hasInput || (review && !editing)) && (
            <div class="question-shown">
              {hasInput && <Value value={input} name="shown" />}
              {review && !editing && <Value value={r.step_output} name="output" />}
            </div>
          )}
          <div class="question-form">
            {!may("run") ? (
              <p class="muted">This token may look, not answer.</p>
            ) : form ? (
              <SchemaForm
                id={`q${r.id}`}
                schema={r.schema}
                submit="Answer"
                onSubmit={(value) => send({ confirmed: true, user_input: value })}
                focus
              >
                <Feedback value={feedback} onInput={setFeedback} />
              </SchemaForm>
            ) : (
              <>
                {review && editing ? (
                  <SchemaForm
                    id={`q${r.id}`}
                    schema={r.schema ?? {}}
                    initial={r.step_output}
                    submit="Accept as edited"
                    onSubmit={(value) => send({ confirmed: true, edited_output: value })}
                    focus
                  />
                ) : null}
                <Feedback
                  value={feedback}
                  onInput={setFeedback}
                  label={review ? "Why, or what to change" : "A note"}
                />
                <div class="form-actions">
                  {!editing && (
                    <Button kind="primary" onClick={() => send({ confirmed: true })}>
                      {review ? "Accept" : "Yes"}
                    </Button>
                  )}
                  {review && (
                    <Button onClick={() => setEditing(!editing)}>{editing ? "Do not edit" : "Edit"}</Button>
                  )}
                  <Button kind="danger" onClick={() => send({ confirmed: false })}>
                    {review ? "Reject" : "No"}
                  </Button>
                </div>
              </>
            )}
          </div>
        </div>
      )}
    </article>
  );
}

function Feedback({
  value,
  onInput,
  label = "A note",
}: {
  value: string;
  onInput(v: string): void;
  label?: string;
}) {
  return (
    <label class="field">
      <span class="field-name">
        {label} <span class="muted">optional</span>
      </span>
      <input
        value={value}
        onInput={(e) => onInput(e.currentTarget.value)}
        placeholder="recorded with the answer"
      />
    </label>
  );
}

// What the step was given beside the question itself.
function showOf(r: Requirement): Json | undefined {
  const input = r.step_input;
  if (typeof input !== "object" || input === null || Array.isArray(input)) return input;
  if (r.kind === "user_input" || ("question" in input && r.kind === "confirmation")) return input.show;
  return Object.keys(input).length > 0 ? input : undefined;
}
