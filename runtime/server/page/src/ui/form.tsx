// The inputs of a form that was made from a JSON Schema (model/schema.ts).
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { FieldProblem } from "../api/client.ts";
import type { Json } from "../api/types.ts";
import {
  type Draft,
  draftOf,
  type Field,
  fieldOf,
  placeholderOf,
  type Problem,
  valueOf,
} from "../model/schema.ts";
import { Button, Segments } from "./parts.tsx";

interface InputProps {
  field: Field;
  draft: Draft;
  path: string;
  problems: Problem[];
  onChange(draft: Draft): void;
  id: string;
  /** What an input is for that has no name beside it. */
  label?: string;
  focus?: boolean;
}

const at = (problems: Problem[], path: string) => problems.filter((p) => p.path === path);

// Leaving it out means something else than any of its values.
const mayBeUnset = (field: Field) => field.nullable || (field.optional && field.initial === undefined);

function Labelled(props: InputProps & { name: string }) {
  const { field, path, problems, name, id } = props;
  const own = at(problems, path);
  const plain =
    field.kind === "text" || field.kind === "number" || field.kind === "json" || field.kind === "choice";
  const Tag = plain ? "label" : "div";
  return (
    <div class={`field${own.length > 0 ? " wrong" : ""}`}>
      {name && (
        <Tag class="field-name" {...(plain ? { for: id } : {})}>
          {name}
          {field.optional && <span class="muted"> optional</span>}
        </Tag>
      )}
      {field.doc && <p class="field-doc">{field.doc}</p>}
      <Input {...props} />
      {own.map((p) => (
        <p class="field-problem" role="alert" key={p.message}>
          {p.message}
        </p>
      ))}
    </div>
  );
}

function Input(props: InputProps) {
  const { field, draft, onChange, id, focus, label } = props;
  const ref = useRef<HTMLInputElement & HTMLTextAreaElement>(null);
  useEffect(() => {
    if (focus) ref.current?.focus();
  }, []);
  const text = draft.kind === "text" ? draft.text : "";
  const onInput = (e: { currentTarget: { value: string } }) =>
    onChange({ kind: "text", text: e.currentTarget.value });
  switch (field.kind) {
    case "text":
      if (field.long) {
        return (
          <textarea
            id={id}
            aria-label={label}
            ref={ref}
            class="long"
            rows={Math.min(12, text.split("\n").length)}
            value={text}
            placeholder={placeholderOf(field)}
            onInput={onInput}
          />
        );
      }
      return (
        <input
          id={id}
          aria-label={label}
          ref={ref}
          type="text"
          inputMode={field.format === "email" ? "email" : field.format === "uri" ? "url" : "text"}
          value={text}
          placeholder={placeholderOf(field)}
          onInput={onInput}
          autocomplete="off"
        />
      );
    case "number":
      return (
        <input
          id={id}
          aria-label={label}
          ref={ref}
          type="text"
          inputMode={field.integer ? "numeric" : "decimal"}
          class="number"
          value={text}
          onInput={onInput}
          autocomplete="off"
          placeholder={
            placeholderOf(field) ||
            (field.min === undefined && field.max === undefined
              ? ""
              : `${field.min ?? ""} … ${field.max ?? ""}`)
          }
        />
      );
    case "json":
      return (
        <textarea
          id={id}
          aria-label={label}
          ref={ref}
          class="mono"
          rows={Math.min(16, Math.max(3, text.split("\n").length))}
          value={text}
          placeholder="JSON"
          onInput={onInput}
          spellcheck={false}
        />
      );
    case "boolean":
      return (
        <Segments
          label={field.title || "yes or no"}
          value={draft.kind === "boolean" && draft.value !== null ? (draft.value ? "yes" : "no") : "unset"}
          onPick={(v) => onChange({ kind: "boolean", value: v === "unset" ? null : v === "yes" })}
          options={[
            ["yes", "Yes"],
            ["no", "No"],
            ...(mayBeUnset(field) ? ([["unset", "Not set"]] as ["unset", string][]) : []),
          ]}
        />
      );
    case "fixed":
      return <code>{JSON.stringify(field.value)}</code>;
    case "choice": {
      const index = draft.kind === "choice" ? draft.index : -1;
      return (
        <select
          id={id}
          value={String(index)}
          onChange={(e) => onChange({ kind: "choice", index: Number(e.currentTarget.value) })}
        >
          {(index < 0 || mayBeUnset(field)) && (
            <option value="-1">{mayBeUnset(field) ? "not set" : "choose…"}</option>
          )}
          {field.values.map((v, i) => (
            <option value={String(i)} key={i}>
              {typeof v === "string" ? v : JSON.stringify(v)}
            </option>
          ))}
        </select>
      );
    }
    case "object":
      return (
        <div class="fields">
          {field.fields.map(({ name, field: f }, i) => (
            <Labelled
              key={name}
              name={name}
              field={f}
              id={`${id}.${name}`}
              path={props.path === "" ? name : `${props.path}.${name}`}
              problems={props.problems}
              focus={(focus ?? false) && i === 0}
              draft={(draft.kind === "object" && draft.parts[name]) || draftOf(f)}
              onChange={(d) =>
                onChange({
                  kind: "object",
                  parts: { ...(draft.kind === "object" ? draft.parts : {}), [name]: d },
                })
              }
            />
          ))}
        </div>
      );
    case "list":
      return <ListInput {...props} field={field} />;
    case "map":
      return <MapInput {...props} field={field} />;
    case "union": {
      const arm = draft.kind === "union" ? draft.arm : 0;
      const inner = field.arms[arm]!.field();
      return (
        <div class="nested">
          <select
            value={String(arm)}
            aria-label="which form"
            onChange={(e) => {
              const next = Number(e.currentTarget.value);
              onChange({ kind: "union", arm: next, value: draftOf(field.arms[next]!.field()) });
            }}
          >
            {field.arms.map((a, i) => (
              <option value={String(i)} key={i}>
                {a.name}
              </option>
            ))}
          </select>
          <Labelled
            {...props}
            name=""
            field={inner}
            draft={draft.kind === "union" ? draft.value : draftOf(inner)}
            onChange={(value) => onChange({ kind: "union", arm, value })}
          />
        </div>
      );
    }
  }
}

function ListInput({
  field,
  draft,
  onChange,
  path,
  problems,
  id,
}: InputProps & { field: Field & { kind: "list" } }) {
  const items = draft.kind === "list" ? draft.items : [];
  const item = field.item();
  const set = (next: Draft[]) => onChange({ kind: "list", items: next });
  return (
    <div class="list-input">
      {items.map((d, i) => (
        <div class="list-item" key={i}>
          <Labelled
            name=""
            field={item}
            draft={d}
            id={`${id}.${i}`}
            label={`item ${i + 1}`}
            path={`${path}[${i}]`}
            problems={problems}
            onChange={(x) => set(items.map((y, j) => (j === i ? x : y)))}
          />
          <Button
            kind="quiet"
            icon="close"
            label={`Remove item ${i + 1}`}
            onClick={() => set(items.filter((_, j) => j !== i))}
          />
        </div>
      ))}
      <Button kind="quiet" icon="plus" onClick={() => set([...items, draftOf(item)])}>
        Add
      </Button>
    </div>
  );
}

function MapInput({
  field,
  draft,
  onChange,
  path,
  problems,
  id,
}: InputProps & { field: Field & { kind: "map" } }) {
  const entries = draft.kind === "map" ? draft.entries : [];
  const item = field.item();
  const set = (next: { key: string; value: Draft }[]) => onChange({ kind: "map", entries: next });
  return (
    <div class="list-input">
      {entries.map((e, i) => (
        <div class="list-item" key={i}>
          <input
            aria-label="key"
            class="map-key"
            value={e.key}
            placeholder="key"
            onInput={(x) => set(entries.map((y, j) => (j === i ? { ...y, key: x.currentTarget.value } : y)))}
          />
          <Labelled
            name=""
            field={item}
            draft={e.value}
            id={`${id}.${i}`}
            label={`value of ${e.key || "the entry"}`}
            path={`${path}["${e.key}"]`}
            problems={problems}
            onChange={(v) => set(entries.map((y, j) => (j === i ? { ...y, value: v } : y)))}
          />
          <Button
            kind="quiet"
            icon="close"
            label={`Remove ${e.key || "entry"}`}
            onClick={() => set(entries.filter((_, j) => j !== i))}
          />
        </div>
      ))}
      <Button kind="quiet" icon="plus" onClick={() => set([...entries, { key: "", value: draftOf(item) }])}>
        Add
      </Button>
    </div>
  );
}

export interface FormProps {
  schema: Json | undefined;
  initial?: Json | undefined;
  submit: string;
  kind?: "primary" | "danger";
  onSubmit(value: Json): Promise<FieldProblem[] | void>;
  children?: preact.ComponentChildren;
  focus?: boolean;
  id: string;
}

/** A form for a schema. What the server finds wrong is shown at its field, too. */
export function SchemaForm({
  schema,
  initial,
  submit,
  kind = "primary",
  onSubmit,
  children,
  focus,
  id,
}: FormProps) {
  const field = useMemo(() => fieldOf(schema), [schema]);
  const [draft, setDraft] = useState<Draft>(() => draftOf(field, initial));
  const [problems, setProblems] = useState<Problem[]>([]);
  const [asJson, setAsJson] = useState(false);
  const [json, setJson] = useState("");
  const [busy, setBusy] = useState(false);

  const read = (): { value: Json | undefined; problems: Problem[] } => {
    const found: Problem[] = [];
    if (!asJson) return { value: valueOf(field, draft, found), problems: found };
    try {
      return { value: JSON.parse(json) as Json, problems: [] };
    } catch (error) {
      return { value: undefined, problems: [{ path: "", message: `no JSON: ${(error as Error).message}` }] };
    }
  };
  // What was wrong and is right now is no longer told; what is wrong only now is told when it is sent.
  const edit = (to: Draft) => {
    setDraft(to);
    if (problems.length === 0) return;
    const still: Problem[] = [];
    valueOf(field, to, still);
    setProblems(problems.filter((p) => still.some((s) => s.path === p.path && s.message === p.message)));
  };
  const toggle = () => {
    if (asJson) {
      const { value, problems: found } = read();
      if (found.length > 0) return setProblems(found);
      setDraft(draftOf(field, value));
    } else {
      setJson(JSON.stringify(valueOf(field, draft, []) ?? null, null, 2));
    }
    setProblems([]);
    setAsJson(!asJson);
  };
  const send = async (e: Event) => {
    e.preventDefault();
    if (busy) return;
    const { value, problems: found } = read();
    setProblems(found);
    if (found.length > 0) {
      requestAnimationFrame(() =>
        document.querySelector(".field-problem")?.scrollIntoView({ block: "center" }),
      );
      return;
    }
    setBusy(true);
    try {
      const theirs = await onSubmit(value ?? null);
      setProblems(theirs ?? []);
    } finally {
      setBusy(false);
    }
  };
  const known = new Set<string>();
  const collect = (f: Field, path: string) => {
    known.add(path);
    if (f.kind === "object")
      for (const x of f.fields) collect(x.field, path === "" ? x.name : `${path}.${x.name}`);
  };
  collect(field, "");
  const elsewhere = problems.filter((p) => asJson || (!known.has(p.path) && !/[[]/.test(p.path)));
  const nothing = field.kind === "object" && field.fields.length === 0;
  return (
    <form class="schema-form" onSubmit={send} noValidate>
      {asJson ? (
        <textarea
          class="mono"
          rows={12}
          value={json}
          aria-label="the value as JSON"
          spellcheck={false}
          onInput={(e) => setJson(e.currentTarget.value)}
        />
      ) : nothing ? (
        <p class="muted">It takes no input.</p>
      ) : (
        <Labelled
          name=""
          field={field}
          draft={draft}
          path=""
          problems={problems}
          onChange={edit}
          id={id}
          focus={focus ?? false}
        />
      )}
      {elsewhere.map((p) => (
        <p class="field-problem" role="alert" key={p.path + p.message}>
          {p.path && <code>{p.path}</code>} {p.message}
        </p>
      ))}
      {children}
      <div class="form-actions">
        <Button type="submit" kind={kind} disabled={busy}>
          {submit}
        </Button>
        {!nothing && (
          <Button kind="quiet" onClick={toggle}>
            {asJson ? "As a form" : "As JSON"}
          </Button>
        )}
      </div>
    </form>
  );
}
