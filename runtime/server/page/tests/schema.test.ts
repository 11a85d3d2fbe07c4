// Forms from JSON Schema: as kflow writes its schemas.
import { describe, expect, test } from "vitest";
import type { Json } from "../src/api/types.ts";
import { type Draft, draftOf, fieldOf, placeholderOf, type Problem, valueOf } from "../src/model/schema.ts";

function value(schema: Json, change: (d: Draft) => Draft = (d) => d, given?: Json) {
  const field = fieldOf(schema);
  const problems: Problem[] = [];
  const out = valueOf(field, change(draftOf(field, given)), problems);
  return { out, problems };
}
const text = (t: string): Draft => ({ kind: "text", text: t });
const parts =
  (p: { [k: string]: Draft }) =>
  (d: Draft): Draft => ({ kind: "object", parts: { ...(d.kind === "object" ? d.parts : {}), ...p } });

const params: Json = {
  type: "object",
  properties: {
    topic: { type: "string", minLength: 1, maxLength: 80, description: "What it is about." },
    count: { type: "integer", minimum: 1, maximum: 5, default: 3 },
    kind: { type: "string", enum: ["news", "other"], default: "news" },
    ask: { type: "boolean", default: false },
    notes: { anyOf: [{ type: "string" }, { type: "null" }] },
    tags: { type: "array", items: { type: "string" }, default: ["a"], maxItems: 2 },
  },
  required: ["topic"],
  additionalProperties: false,
};

describe("parameters", () => {
  test("defaults are there at first; what is not typed is not sent", () => {
    expect(value(params, parts({ topic: text("AI") }))).toEqual({
      out: { topic: "AI", count: 3, kind: "news", ask: false, tags: ["a"] },
      problems: [],
    });
  });
  test("what is missing or does not fit is told at its path", () => {
    const { problems } = value(
      params,
      parts({
        topic: text(""),
        count: text("9"),
        tags: { kind: "list", items: [text("a"), text("b"), text("c")] },
      }),
    );
    expect(problems).toEqual([
      { path: "topic", message: "is missing" },
      { path: "count", message: "at most 5" },
      { path: "tags", message: "at most 2, there are 3" },
    ]);
  });
  test("numbers", () => {
    const number = (t: string) => value(params, parts({ topic: text("x"), count: text(t) }));
    expect(number("2.5").problems[0]!.message).toBe("a whole number");
    expect(number("two").problems[0]!.message).toBe("`two` is no number");
    expect(number("").out).not.toHaveProperty("count"); // its default holds
    expect(value({ type: "number" }, () => text("2.5")).out).toBe(2.5);
    expect(value({ type: "integer" }, () => text("9007199254740993")).problems[0]!.message).toContain(
      "too large",
    );
  });
  test("an emptied list with a default is an empty list, an emptied text an empty text", () => {
    expect(
      (value(params, parts({ topic: text("x"), tags: { kind: "list", items: [] } })).out as { tags: Json })
        .tags,
    ).toEqual([]);
    expect(
      value(
        { type: "object", properties: { a: { type: "string", default: "x" } }, required: [] },
        parts({ a: text("") }),
      ).out,
    ).toEqual({ a: "" });
  });
  test("an earlier input fills the form", () => {
    expect(
      value(params, (d) => d, { topic: "old", count: 5, kind: "other", ask: true, notes: "n", tags: [] }).out,
    ).toEqual({ topic: "old", count: 5, kind: "other", ask: true, notes: "n", tags: [] });
  });
});

describe("kinds of fields", () => {
  test("null and left out", () => {
    const nullable: Json = { anyOf: [{ type: "integer" }, { type: "null" }] };
    expect(value(nullable).out).toBe(null);
    expect(value(nullable, () => text("4")).out).toBe(4);
    expect(value({ type: "object", properties: { a: nullable }, required: ["a"] }).out).toEqual({ a: null });
    expect(value({ type: "object", properties: { a: nullable }, required: [] }).out).toEqual({});
  });
  test("references, also to oneself", () => {
    const tree: Json = {
      $ref: "#/$defs/Tree",
      $defs: {
        Tree: {
          type: "object",
          properties: { name: { type: "string" }, inner: { type: "array", items: { $ref: "#/$defs/Tree" } } },
          required: ["name", "inner"],
        },
      },
    };
    const leaf: Draft = { kind: "object", parts: { name: text("b"), inner: { kind: "list", items: [] } } };
    expect(value(tree, parts({ name: text("a"), inner: { kind: "list", items: [leaf] } })).out).toEqual({
      name: "a",
      inner: [{ name: "b", inner: [] }],
    });
  });
  test("a union of records is told apart by its literal field", () => {
    const union: Json = {
      anyOf: [
        {
          type: "object",
          properties: { kind: { const: "card" }, number: { type: "string" } },
          required: ["kind", "number"],
        },
        { type: "object", properties: { kind: { const: "cash" } }, required: ["kind"] },
      ],
    };
    const field = fieldOf(union);
    expect(field.kind === "union" && field.arms.map((a) => a.name)).toEqual(["card", "cash"]);
    expect(value(union, (d) => d, { kind: "cash" }).out).toEqual({ kind: "cash" });
    expect(value(union, (d) => d, { kind: "card", number: "1" }).out).toEqual({ kind: "card", number: "1" });
  });
  test("maps", () => {
    const map: Json = { type: "object", additionalProperties: { type: "integer" } };
    expect(value(map, (d) => d, { a: 1, b: 2 }).out).toEqual({ a: 1, b: 2 });
    const twice: Draft = {
      kind: "map",
      entries: [
        { key: "a", value: text("1") },
        { key: "a", value: text("2") },
      ],
    };
    expect(value(map, () => twice).problems[0]!.message).toContain("twice");
  });
  test("anything is JSON", () => {
    expect(value({}, () => text('{"a": [1]}')).out).toEqual({ a: [1] });
    expect(value({}, () => text("{")).problems[0]!.message).toContain("no JSON");
    expect(value({}, () => text("")).problems[0]!.message).toBe("a value is missing");
  });
  test("formats, patterns and lengths of time", () => {
    const wrong = (schema: Json, t: string) => value(schema, () => text(t)).problems.length > 0;
    expect(wrong({ type: "string", format: "email" }, "ada")).toBe(true);
    expect(wrong({ type: "string", format: "email" }, "ada@example.com")).toBe(false);
    expect(wrong({ type: "string", format: "date" }, "31.1.2026")).toBe(true);
    expect(wrong({ type: "string", format: "date-time" }, "2026-01-31T09:00:00Z")).toBe(false);
    expect(wrong({ type: "string", pattern: "^a+$" }, "b")).toBe(true);
    expect(wrong({ type: "string", pattern: "(?P<re2>x)" }, "b")).toBe(false); // the server checks what this browser cannot
    expect(wrong({ type: "string", description: "a length of time such as 90s or 1h30m" }, "soon")).toBe(
      true,
    );
    expect(wrong({ type: "string", description: "a length of time such as 90s or 1h30m" }, "1h30m")).toBe(
      false,
    );
  });
  test("a required choice must be made, a required text may be empty", () => {
    expect(value({ type: "string", enum: ["a", "b"] }).problems[0]!.message).toBe("choose one");
    expect(value({ type: "string" }).out).toBe("");
    expect(value({ type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] }).out).toEqual({
      ok: false,
    });
  });
  test("placeholders tell defaults", () => {
    expect(placeholderOf(fieldOf({ type: "integer", default: 3 }))).toBe("3");
    expect(placeholderOf(fieldOf({ anyOf: [{ type: "string" }, { type: "null" }] }))).toBe("optional");
  });
});
