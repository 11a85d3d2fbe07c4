// Forms from JSON Schema: what a schema asks for as fields, what is typed into them as text, and the
// value that the text means, or what is wrong with it and where.
import type { Json, JsonObject } from "../api/types.ts";

interface FieldBase {
  title: string;
  doc: string;
  /** It may be left out; then the default holds, or null. */
  optional: boolean;
  /** null is a value of it. */
  nullable: boolean;
  initial: Json | undefined;
}
export type Field =
  | (FieldBase & {
      kind: "text";
      long: boolean;
      format: string;
      min?: number;
      max?: number;
      pattern?: string;
    })
  | (FieldBase & { kind: "number"; integer: boolean; min?: number; max?: number })
  | (FieldBase & { kind: "boolean" })
  | (FieldBase & { kind: "choice"; values: Json[] })
  | (FieldBase & { kind: "fixed"; value: Json })
  | (FieldBase & { kind: "object"; fields: { name: string; field: Field }[] })
  | (FieldBase & { kind: "list"; item: () => Field; min?: number; max?: number })
  | (FieldBase & { kind: "map"; item: () => Field })
  | (FieldBase & { kind: "union"; arms: { name: string; field: () => Field }[] })
  | (FieldBase & { kind: "json" });

/** What is typed: text where the field is text, number or JSON; the parts where it has parts. */
export type Draft =
  | { kind: "text"; text: string }
  | { kind: "boolean"; value: boolean | null }
  | { kind: "choice"; index: number }
  | { kind: "object"; parts: { [name: string]: Draft } }
  | { kind: "list"; items: Draft[] }
  | { kind: "map"; entries: { key: string; value: Draft }[] }
  | { kind: "union"; arm: number; value: Draft }
  | { kind: "none" };

export interface Problem {
  path: string;
  message: string;
}

/** Deeper than this a schema is asked for as JSON. */
const MAX_DEPTH = 12;

type Schema = { [key: string]: Json | undefined };

const asSchema = (v: Json | undefined): Schema =>
  typeof v === "object" && v !== null && !Array.isArray(v) ? v : {};
const numberOf = (v: Json | undefined) => (typeof v === "number" ? v : undefined);

export function fieldOf(schema: Json | undefined, title = ""): Field {
  return read(asSchema(schema), asSchema(schema), title, 0);
}

function resolve(schema: Schema, root: Schema): Schema {
  const seen = new Set<string>();
  while (typeof schema.$ref === "string" && !seen.has(schema.$ref)) {
    seen.add(schema.$ref);
    let at: Json | undefined = root as JsonObject;
    for (const part of schema.$ref.replace(/^#\/?/, "").split("/")) {
      if (part === "") continue;
      at = asSchema(at)[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    const { $ref: _, ...rest } = schema;
    schema = { ...asSchema(at), ...rest };
  }
  return schema;
}

function read(given: Schema, root: Schema, title: string, depth: number): Field {
  let schema = resolve(given, root);
  let nullable = false;
  let arms = (schema.anyOf ?? schema.oneOf) as Json[] | undefined;
  if (Array.isArray(arms)) {
    const rest = arms.filter((a) => asSchema(a).type !== "null");
    nullable = rest.length < arms.length;
    if (rest.length === 1) {
      const { anyOf: _a, oneOf: _o, ...outer } = schema;
      const inner = resolve(asSchema(rest[0]), root);
      schema = { ...inner, ...outer };
      arms = (inner.anyOf ?? inner.oneOf) as Json[] | undefined;
    } else {
      arms = rest;
    }
  }
  let type = schema.type;
  if (Array.isArray(type)) {
    nullable ||= type.includes("null");
    const rest: Json[] = type.filter((t) => t !== "null");
    type = rest.length === 1 ? rest[0] : undefined;
  }
  const base: FieldBase = {
    title: typeof schema.title === "string" ? schema.title : title,
    doc: typeof schema.description === "string" ? schema.description : "",
    optional: false,
    nullable,
    initial: schema.default,
  };
  if (schema.const !== undefined) return { ...base, kind: "fixed", value: schema.const };
  if (Array.isArray(schema.enum)) return { ...base, kind: "choice", values: schema.enum };
  if (depth > MAX_DEPTH) return { ...base, kind: "json" };
  if (Array.isArray(arms) && arms.length > 1) {
    return {
      ...base,
      kind: "union",
      arms: arms.map((a, i) => ({
        name: armName(resolve(asSchema(a), root), i),
        field: () => read(asSchema(a), root, "", depth + 1),
      })),
    };
  }
  switch (type) {
    case "boolean":
      return { ...base, kind: "boolean" };
    case "integer":
    case "number":
      return {
        ...base,
        kind: "number",
        integer: type === "integer",
        ...bounds(schema.minimum, schema.maximum),
      };
    case "string": {
      const max = numberOf(schema.maxLength);
      const format =
        typeof schema.format === "string"
          ? schema.format
          : schema.contentEncoding === "base64"
            ? "base64"
            : "";
      return {
        ...base,
        kind: "text",
        format,
        long: format === "" && typeof schema.pattern !== "string" && (max === undefined || max > 120),
        ...bounds(schema.minLength, schema.maxLength),
        ...(typeof schema.pattern === "string" ? { pattern: schema.pattern } : {}),
      };
    }
    case "array":
      return {
        ...base,
        kind: "list",
        item: () => read(asSchema(schema.items), root, "", depth + 1),
        ...bounds(schema.minItems, schema.maxItems),
      };
    case "object":
      if (schema.properties !== undefined) {
        const required = Array.isArray(schema.required) ? schema.required : [];
        const fields = Object.entries(asSchema(schema.properties)).map(([name, s]) => {
          const field = read(asSchema(s), root, name, depth + 1);
          field.title = name;
          field.optional = !required.includes(name);
          return { name, field };
        });
        return { ...base, kind: "object", fields };
      }
      if (typeof schema.additionalProperties === "object" && schema.additionalProperties !== null)
        return {
          ...base,
          kind: "map",
          item: () => read(asSchema(schema.additionalProperties), root, "", depth + 1),
        };
      return { ...base, kind: "json" };
  }
  return { ...base, kind: "json" };
}

function bounds(min: Json | undefined, max: Json | undefined) {
  return {
    ...(typeof min === "number" ? { min } : {}),
    ...(typeof max === "number" ? { max } : {}),
  };
}

// An arm of a union is named by its literal field, as `match` tells it.
function armName(arm: Schema, index: number): string {
  for (const s of Object.values(asSchema(arm.properties))) {
    const value = asSchema(s).const;
    if (value !== undefined) return String(value);
  }
  return typeof arm.title === "string"
    ? arm.title
    : typeof arm.type === "string"
      ? arm.type
      : `form ${index + 1}`;
}

/** The draft of a value, or of what the field has at first. */
export function draftOf(field: Field, given: Json | undefined = undefined): Draft {
  const value = given !== undefined ? given : field.initial;
  switch (field.kind) {
    case "text":
      return { kind: "text", text: typeof value === "string" ? value : "" };
    case "number":
      return { kind: "text", text: typeof value === "number" ? String(value) : "" };
    case "json":
      return { kind: "text", text: value === undefined ? "" : JSON.stringify(value, null, 2) };
    case "boolean":
      return {
        kind: "boolean",
        value: typeof value === "boolean" ? value : field.optional || field.nullable ? null : false,
      };
    case "fixed":
      return { kind: "none" };
    case "choice":
      return {
        kind: "choice",
        index:
          value === undefined
            ? -1
            : field.values.findIndex((v) => JSON.stringify(v) === JSON.stringify(value)),
      };
    case "object": {
      const from = asSchema(value);
      return {
        kind: "object",
        parts: Object.fromEntries(field.fields.map(({ name, field: f }) => [name, draftOf(f, from[name])])),
      };
    }
    case "list":
      return { kind: "list", items: Array.isArray(value) ? value.map((v) => draftOf(field.item(), v)) : [] };
    case "map":
      return {
        kind: "map",
        entries: Object.entries(asSchema(value)).map(([key, v]) => ({
          key,
          value: draftOf(field.item(), v as Json),
        })),
      };
    case "union": {
      const arm =
        value === undefined
          ? 0
          : Math.max(
              0,
              field.arms.findIndex((a) => fits(a.field(), value)),
            );
      return { kind: "union", arm, value: draftOf(field.arms[arm]!.field(), value) };
    }
  }
}

// Whether a value could be of the field, by its literal fields and its kind.
function fits(field: Field, value: Json): boolean {
  switch (field.kind) {
    case "object":
      return (
        typeof value === "object" &&
        value !== null &&
        !Array.isArray(value) &&
        field.fields.every(
          ({ name, field: f }) => f.kind !== "fixed" || (value as JsonObject)[name] === f.value,
        )
      );
    case "text":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    case "list":
      return Array.isArray(value);
    default:
      return true;
  }
}

const isEmpty = (draft: Draft): boolean => {
  switch (draft.kind) {
    case "text":
      return draft.text === "";
    case "boolean":
      return draft.value === null;
    case "choice":
      return draft.index < 0;
    case "object":
      return Object.values(draft.parts).every(isEmpty);
    case "list":
      return draft.items.length === 0;
    case "map":
      return draft.entries.length === 0;
    case "union":
      return isEmpty(draft.value);
    case "none":
      return true;
  }
};

/** The value that a draft means; `undefined`: left out. Problems are added with their paths. */
export function valueOf(field: Field, draft: Draft, problems: Problem[], path = ""): Json | undefined {
  if (field.kind === "fixed") return field.value;
  if (isEmpty(draft)) {
    if (field.optional && field.initial === undefined) return undefined;
    if (field.nullable) return null;
    // An empty text, list or map is a value; an empty number is none, and its default holds.
    if (field.optional && field.kind !== "text" && field.kind !== "list" && field.kind !== "map")
      return undefined;
  }
  const wrong = (message: string) => {
    problems.push({ path, message });
    return undefined;
  };
  switch (field.kind) {
    case "text":
      return draft.kind === "text" ? checkText(field, draft.text, wrong) : undefined;
    case "number":
      return draft.kind === "text" ? checkNumber(field, draft.text.trim(), wrong) : undefined;
    case "json": {
      const text = draft.kind === "text" ? draft.text.trim() : "";
      if (text === "") return field.optional ? undefined : wrong("a value is missing");
      try {
        return JSON.parse(text) as Json;
      } catch (error) {
        return wrong(`no JSON: ${(error as Error).message}`);
      }
    }
    case "boolean":
      return draft.kind === "boolean" && draft.value !== null ? draft.value : wrong("say yes or no");
    case "choice":
      return draft.kind === "choice" && field.values[draft.index] !== undefined
        ? field.values[draft.index]
        : wrong("choose one");
    case "object": {
      const out: JsonObject = {};
      if (draft.kind !== "object") return out;
      for (const { name, field: f } of field.fields) {
        const part = draft.parts[name];
        const value = part && valueOf(f, part, problems, path === "" ? name : `${path}.${name}`);
        if (value !== undefined) out[name] = value;
      }
      return out;
    }
    case "list": {
      if (draft.kind !== "list") return [];
      const n = draft.items.length;
      if (field.min !== undefined && n < field.min) wrong(`at least ${field.min}, there are ${n}`);
      if (field.max !== undefined && n > field.max) wrong(`at most ${field.max}, there are ${n}`);
      return draft.items.map((d, i) => valueOf(field.item(), d, problems, `${path}[${i}]`) ?? null);
    }
    case "map": {
      const out: JsonObject = {};
      if (draft.kind !== "map") return out;
      for (const { key, value } of draft.entries) {
        if (key in out) problems.push({ path, message: `the key \`${key}\` is there twice` });
        out[key] = valueOf(field.item(), value, problems, `${path}["${key}"]`) ?? null;
      }
      return out;
    }
    case "union":
      return draft.kind === "union"
        ? valueOf(field.arms[draft.arm]!.field(), draft.value, problems, path)
        : undefined;
  }
}

const DURATION = /^-?(\d+(\.\d+)?(ms|us|ns|s|m|h|d))+$/;

function checkText(
  field: Field & { kind: "text" },
  text: string,
  wrong: (m: string) => undefined,
): string | undefined {
  const length = [...text].length;
  if (field.min !== undefined && length < field.min)
    return wrong(length === 0 ? "is missing" : `at least ${field.min} characters, there are ${length}`);
  if (field.max !== undefined && length > field.max)
    return wrong(`at most ${field.max} characters, there are ${length}`);
  if (field.format === "date-time" && text !== "" && Number.isNaN(Date.parse(text)))
    return wrong("a moment such as 2026-01-31T09:00:00Z");
  if (field.format === "date" && !/^\d{4}-\d\d-\d\d$/.test(text)) return wrong("a date such as 2026-01-31");
  if (field.format === "email" && !/^\S+@\S+$/.test(text)) return wrong("an address such as ada@example.com");
  if (field.format === "uri" && !/^[a-z][a-z0-9+.-]*:/i.test(text))
    return wrong("an address such as https://example.com");
  if (field.format === "" && field.doc.includes("a length of time such as") && !DURATION.test(text))
    return wrong("a length of time such as 90s or 1h30m");
  if (field.pattern !== undefined && text !== "") {
    try {
      if (!new RegExp(field.pattern, "u").test(text)) return wrong(`does not fit ${field.pattern}`);
    } catch {
      // RE2 knows more than this browser does: the server checks it.
    }
  }
  return text;
}

function checkNumber(
  field: Field & { kind: "number" },
  text: string,
  wrong: (m: string) => undefined,
): number | undefined {
  if (text === "") return wrong("is missing");
  const value = Number(text);
  if (!Number.isFinite(value)) return wrong(`\`${text}\` is no number`);
  if (field.integer && !Number.isInteger(value)) return wrong("a whole number");
  if (field.integer && !Number.isSafeInteger(value))
    return wrong("too large to be exact here; use the JSON form");
  if (field.min !== undefined && value < field.min) return wrong(`at least ${field.min}`);
  if (field.max !== undefined && value > field.max) return wrong(`at most ${field.max}`);
  return value;
}

/** What stands where a value is not typed: its default. */
export function placeholderOf(field: Field): string {
  if (field.initial !== undefined && field.initial !== null && field.initial !== "")
    return typeof field.initial === "string" ? field.initial : JSON.stringify(field.initial);
  if (field.kind === "text" && field.format === "date-time") return "2026-01-31T09:00:00Z";
  return field.optional || field.nullable ? "optional" : "";
}
