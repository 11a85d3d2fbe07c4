// The smaller pure parts: streams, comparison, filters, addresses, texts, colours.
import { describe, expect, test } from "vitest";
import { pageOf, problemOf, withQuery } from "../src/api/client.ts";
import { SseParser } from "../src/api/sse.ts";
import { compareSteps, textLines, valueChanges } from "../src/model/diff.ts";
import {
  fromParams,
  loadViews,
  matches,
  NO_FILTERS,
  queryOf,
  saveViews,
  sinceMoment,
  toParams,
} from "../src/model/filters.ts";
import { ago, brief, duration, errorText, millis, tokens, usageText } from "../src/model/format.ts";
import { highlight } from "../src/model/highlight.ts";
import { href, parseRoute, runHref } from "../src/router.ts";

describe("server-sent events", () => {
  const stream =
    'retry: 1000\n\nid: 0\nevent: A\ndata: {"x":1}\n\n: keepalive\n\nid: 1\nevent: B\ndata: one\ndata: two\n\nevent: catch_up\ndata: {}\n\n';
  const expected = [
    { id: "0", event: "A", data: '{"x":1}' },
    { id: "1", event: "B", data: "one\ntwo" },
    { id: null, event: "catch_up", data: "{}" },
  ];
  test("whole", () => {
    const parser = new SseParser();
    expect(parser.push(stream)).toEqual(expected);
    expect(parser.retry).toBe(1000);
  });
  test("cut at every place, with every kind of line break", () => {
    for (const text of [stream, stream.replaceAll("\n", "\r\n"), stream.replaceAll("\n", "\r")]) {
      for (let cut = 0; cut <= text.length; ++cut) {
        const parser = new SseParser();
        expect([...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))]).toEqual(expected);
      }
      const parser = new SseParser();
      expect([...text].flatMap((c) => parser.push(c))).toEqual(expected);
    }
  });
  test("what is not ended is not given", () => {
    expect(new SseParser().push("id: 1\ndata: x\n")).toEqual([]);
  });
});

describe("answers", () => {
  test("a problem document, with its fields", async () => {
    const body = {
      title: "Unprocessable Content",
      status: 422,
      detail: "the input does not fit",
      errors: [{ path: "posts[0].title", message: "is missing" }],
    };
    const error = await problemOf(new Response(JSON.stringify(body), { status: 422 }));
    expect([error.status, error.detail, error.fields]).toEqual([
      422,
      "the input does not fit",
      [{ path: "posts[0].title", message: "is missing" }],
    ]);
  });
  test("anything else is told as it is", async () => {
    const error = await problemOf(new Response("bad gateway", { status: 502, statusText: "Bad Gateway" }));
    expect([error.title, error.detail]).toEqual(["Bad Gateway", "bad gateway"]);
  });
  test("lists with and without meta", () => {
    expect(pageOf([1])).toEqual({ data: [1], next: null, total: 1 });
    expect(pageOf({ data: [1], meta: { next_cursor: "c", total_count: 9 } })).toEqual({
      data: [1],
      next: "c",
      total: 9,
    });
    expect(withQuery("/runs", { a: "x y", b: "", c: undefined, d: 0 })).toBe("/runs?a=x%20y&d=0");
  });
});

describe("comparison", () => {
  test("values, by path", () => {
    expect(
      valueChanges({ a: 1, b: [1, 2], c: "x" }, { a: 1, b: [1, 3, 4], d: null }).map((c) => [c.path, c.kind]),
    ).toEqual([
      ["b[1]", "changed"],
      ["b[2]", "added"],
      ["c", "removed"],
      ["d", "added"],
    ]);
    expect(valueChanges({ a: [{ b: 1 }] }, { a: [{ b: 1 }] })).toEqual([]);
  });
  test("texts, by line", () => {
    expect(textLines("a\nb\nc\nd", "a\nc\nx\nd").map((l) => `${l.kind[0]}${l.text}`)).toEqual([
      "sa",
      "rb",
      "sc",
      "ax",
      "sd",
    ]);
  });
  test("steps", () => {
    const s = (step_id: string, content: number, status = "COMPLETED") => ({ step_id, content, status });
    const rows = compareSteps(
      [s("a", 1), s("b", 1), s("d", 1)],
      [s("a", 1), s("c", 1), s("b", 2), s("e", 1)],
    );
    expect(rows.map((r) => [r.id, r.verdict, r.what.join()])).toEqual([
      ["a", "same", ""],
      ["c", "only-b", ""],
      ["b", "differs", "output"],
      ["e", "only-b", ""],
      ["d", "only-a", ""],
    ]);
  });
});

describe("filters", () => {
  const f = {
    ...NO_FILTERS,
    text: "ai",
    statuses: ["PAUSED" as const, "ERROR" as const],
    workflow: "w",
    since: "1h",
  };
  test("there and back through the address", () => {
    expect(fromParams(toParams(f))).toEqual(f);
    expect(fromParams({ status: "PAUSED,NONSENSE", since: "9y" })).toEqual({
      ...NO_FILTERS,
      statuses: ["PAUSED"],
    });
  });
  test("as the server is asked", () => {
    const now = Date.parse("2026-01-31T10:00:30Z");
    expect(queryOf(f, now)).toEqual({
      workflow_id: "w",
      status: "PAUSED,ERROR",
      since: "2026-01-31T09:00:00.000Z",
    });
    expect(sinceMoment("", now)).toBe(undefined);
  });
  test("the search looks for every word in what a row shows", () => {
    const run = {
      run_id: "abc",
      workflow_id: "mail",
      status: "ERROR" as const,
      error: { message: "no such host" },
    };
    expect(matches(run, "MAIL host")).toBe(true);
    expect(matches(run, "mail port")).toBe(false);
  });
  test("saved views survive, damaged ones do not hurt", () => {
    const kept = new Map<string, string>();
    const storage = {
      getItem: (k: string) => kept.get(k) ?? null,
      setItem: (k: string, v: string) => void kept.set(k, v),
    };
    saveViews(storage, [{ name: "mine", filters: f }]);
    expect(loadViews(storage)).toEqual([{ name: "mine", filters: f }]);
    storage.setItem("kflow.views", "{");
    expect(loadViews(storage)).toEqual([]);
  });
});

describe("addresses", () => {
  test("there and back", () => {
    expect(parseRoute(runHref("a/b c", "r1", "timeline", { step: "x[1].y" }))).toEqual({
      view: "run",
      workflow: "a/b c",
      run: "r1",
      tab: "timeline",
      params: { step: "x[1].y" },
    });
    expect(parseRoute(href(["workflows", "w", "source"], { line: "3" }))).toEqual({
      view: "workflow",
      id: "w",
      tab: "source",
      params: { line: "3" },
    });
    expect(parseRoute("#/sessions/s%2F1")).toEqual({ view: "session", id: "s/1", params: {} });
  });
  test("what it does not know is the list of runs", () => {
    for (const hash of ["", "#", "#/", "#/nonsense", "#/runs/only", "#/%zz"])
      expect(parseRoute(hash).view).toBe("runs");
  });
});

describe("texts", () => {
  test("lengths of time", () => {
    expect([0, 999, 1500, 9999, 61_000, 3_600_000, 90_000_000, null].map(duration)).toEqual([
      "0 ms",
      "999 ms",
      "1.5 s",
      "9.9 s",
      "1 min 1 s",
      "1 h",
      "1 d 1 h",
      "–",
    ]);
  });
  test("moments of every kind", () => {
    expect(
      [1795478082, 1795478082123, "2026-11-24T00:00:00Z", "1795478082", null, "", "soon"].map(millis),
    ).toEqual([
      1795478082000,
      1795478082123,
      Date.parse("2026-11-24T00:00:00Z"),
      1795478082000,
      null,
      null,
      null,
    ]);
    expect([ago(10_000_000, 10_000_000_500), ago(1e12, 1e12 + 65_000), ago(1e12 + 60_000, 1e12)]).toEqual([
      "now",
      "1 min ago",
      "in 1 min",
    ]);
  });
  test("usage and errors", () => {
    expect(usageText({ input_tokens: 1234, output_tokens: 5, usd: 0.25 })).toBe("1.2k in, 5 out · $0.25");
    expect(tokens(2_500_000)).toBe("2.5M");
    expect([errorText(null), errorText("x"), errorText({ message: "m" }), errorText({ a: 1 })]).toEqual([
      "",
      "x",
      "m",
      '{"a":1}',
    ]);
    expect(brief("a\n  b", 3)).toBe("a b");
    expect(brief({ a: "long text" }, 8)).toBe('{"a":"l…');
  });
  test("source: no character is lost, and words are told apart", () => {
    const source =
      'workflow w(a: string) -> int {\n  // note\n  step x = exec.run(["a ${b}"])\n  let s = """\n    two\n  """\n}';
    const lines = highlight(source);
    expect(lines.map((l) => l.map((p) => p.text).join("")).join("\n")).toBe(source);
    expect(lines[0]![0]).toEqual({ kind: "word", text: "workflow" });
    expect(lines[0]!.find((p) => p.text === "string")!.kind).toBe("type");
    expect(lines[1]!.at(-1)!.kind).toBe("comment");
    expect(lines[2]!.some((p) => p.kind === "word" && p.text === "run")).toBe(false);
    expect(lines[4]![0]!.kind).toBe("text");
  });
});
