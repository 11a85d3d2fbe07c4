// Every view and action of the page, in a headless browser, against a real server.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Served, type View } from "./harness.ts";

const poem = "# Autumn\n\nThe leaves **fall**, one by one, and the log remembers each.\n\n- red\n- gold\n";
const served = new Served();
const opened: View[] = [];

beforeAll(() =>
  served.start({ script: [{ contains: "poem", answers: [{ text: poem, chunk: 90, delay_ms: 120 }] }] }),
);
afterAll(() => served.stop());
afterEach(async () => {
  for (const view of opened.splice(0)) expect(await view.close()).toEqual([]);
});

async function open(
  address: string,
  options: Parameters<Served["open"]>[1] = {},
): Promise<Page & { view: View }> {
  const view = await served.open(address, options);
  opened.push(view);
  return Object.assign(view.page, { view });
}
const runAddress = (workflow: string, run: string, rest = "") => `#/runs/${workflow}/${run}${rest}`;
const end = (run: string) => run.slice(-8);

describe("a run that has ended", () => {
  let run = "";
  beforeAll(async () => {
    run = await served.run("demo", { topic: "AI trends" });
    await served.wait("demo", run, "COMPLETED");
  });

  test("graph: states, ways not taken, iterations, and a step in full", async () => {
    const page = await open(runAddress("demo", run));
    await page.getByRole("button", { name: "Step first, completed" }).waitFor();
    await page.view.shot("graph");
    expect(await page.locator(".g-step.faded").count()).toBeGreaterThan(0);
    // Zoomed out until all of it is seen.
    const size = () => page.locator(".graph-inner").evaluate((e) => e.getBoundingClientRect().width);
    const before = await size();
    await page.getByLabel("See the whole graph").click();
    await page.waitForFunction(
      (w) => document.querySelector(".graph-inner")!.getBoundingClientRect().width < w,
      before,
    );
    await page.view.shot("graph-whole");
    // The loop shows its last iteration, and the one before it when asked.
    await page.getByRole("button", { name: "Step refine[2].draft, completed" }).waitFor();
    await page.locator(".g-group", { hasText: "loop refine" }).getByLabel("Previous iteration").click();
    await page.getByRole("button", { name: "Step refine[1].draft, completed" }).waitFor();
    // A tool opens into its own steps, and so does a child workflow.
    await page.getByLabel("Open left").click();
    await page.getByRole("button", { name: "Step left.w, completed" }).waitFor();
    await page.getByLabel("Open one").click();
    await page.getByRole("button", { name: "Step one.s, completed" }).waitFor();
    // A failed step: its error and both attempts.
    await page.getByRole("button", { name: "Step right.b, failed" }).click();
    const panel = page.getByLabel("Step right.b", { exact: true });
    await panel.getByText("`false` ended with exit status 1").first().waitFor();
    expect(await panel.locator(".attempts tr").count()).toBe(2);
    await page.view.shot("graph-step");
    await page.keyboard.press("Escape");
    await panel.waitFor({ state: "detached" });
    await page.keyboard.press("+");
    const now = await size();
    expect(now).toBeLessThan(before);
  });

  test("timeline: bars of each kind, folding, zoom by dragging and back", async () => {
    const page = await open(runAddress("demo", run, "/timeline"));
    await page.locator(".tl-row").first().waitFor();
    await page.locator(".tl-row .bar.retrying").first().waitFor();
    expect(await page.locator(".tl-row .bar.waiting").count()).toBeGreaterThan(0);
    await page.view.shot("timeline");
    const rows = await page.locator(".tl-row").count();
    await page.getByLabel("Fold for").click();
    await page.waitForFunction((n) => document.querySelectorAll(".tl-row").length < n, rows);
    const axis = (await page.locator(".tl-axis").boundingBox())!;
    await page.mouse.move(axis.x + axis.width * 0.2, axis.y + 10);
    await page.mouse.down();
    await page.mouse.move(axis.x + axis.width * 0.5, axis.y + 10, { steps: 4 });
    await page.mouse.up();
    const whole = page.getByLabel("See the whole run");
    await whole.click();
    await page.waitForFunction(
      () => (document.querySelector('[aria-label="See the whole run"]') as HTMLButtonElement).disabled,
    );
    await page.keyboard.press("+");
    expect(await whole.isEnabled()).toBe(true);
    await page.locator(".tl-label", { hasText: "right.b" }).click();
    await page.getByLabel("Step right.b", { exact: true }).waitFor();
  });

  test("events: all of them, filtered, from an index, one in full", async () => {
    const page = await open(runAddress("demo", run, "/events"));
    await page.getByText("WorkflowCompleted").waitFor();
    await page.getByText(/the run has ended/).waitFor();
    await page.getByLabel("Filter events").fill("StepRetry");
    await page.waitForFunction(() => document.querySelectorAll(".ev-row").length === 1);
    await page.locator(".ev-row").click();
    await page.locator(".ev-detail").getByText('"exit_status"').waitFor();
    await page.view.shot("events");
    await page.getByLabel("Filter events").fill("");
    await page.getByLabel("From event").fill("3");
    await page.getByRole("button", { name: "Go", exact: true }).click();
    await page.locator(".ev-row.current", { hasText: "ConditionExecutionStarted" }).waitFor();
    await page.keyboard.press("j");
    await page.locator(".ev-row.current", { hasText: "StepStarted" }).waitFor();
  });

  test("result: Markdown, text and JSON, and to be kept as a file", async () => {
    const page = await open(runAddress("demo", run, "/output"));
    await page.locator(".markdown h1", { hasText: "AI trends" }).waitFor();
    await page.view.shot("result");
    await page.getByRole("button", { name: "Text" }).click();
    await page.locator("pre.plain", { hasText: "# AI trends" }).waitFor();
    await page.getByRole("button", { name: "JSON" }).click();
    await page.locator("pre.json", { hasText: '"# AI trends\\n\\nIt is *done*' }).waitFor();
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      page.getByLabel("Download").first().click(),
    ]);
    expect(readFileSync((await file.path())!, "utf8")).toContain("# AI trends");
    await page.getByRole("tab", { name: "Why" }).click();
    await page.getByText("It waits for nothing").waitFor();
  });

  test("fork from a step with an edited value, then compare the two", async () => {
    const page = await open(runAddress("demo", run));
    await page.getByRole("button", { name: "Step short, completed" }).click();
    await page.getByRole("button", { name: "Fork from here" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Recorded values").click();
    await dialog.locator(".fork-value", { hasText: "first" }).getByRole("button", { name: "Edit" }).click();
    await dialog
      .getByLabel("Value of first", { exact: true })
      .fill('{"exit_code": 0, "stdout": "edited", "stderr": ""}');
    await page.view.shot("fork");
    await dialog.getByRole("button", { name: "Fork", exact: true }).click();
    await page.waitForFunction((id) => !location.hash.includes(id), run);
    const forked = /runs\/demo\/([^/?]+)/.exec(page.url())![1]!;
    await served.wait("demo", forked, "COMPLETED");
    await page.goto(`${served.base}/#/compare?a=demo/${run}&b=demo/${forked}`);
    await page.locator(".compare-row", { hasText: "first" }).click();
    await page.locator(".ev-detail .added", { hasText: "edited" }).waitFor();
    await page.view.shot("compare");
    await page.getByRole("button", { name: "All", exact: true }).click();
    await page.locator(".compare-row.v-same").first().waitFor();
  });

  test("what a run says cannot become part of the page", async () => {
    const text =
      "# Safe\n\n<img src=x onerror=alert(1)> <script>alert(2)</script>\n\n[click](javascript:alert(3)) ![i](https://example.com/i.png)";
    const said = await served.run("echoed", { text });
    await served.wait("echoed", said, "COMPLETED");
    const page = await open(runAddress("echoed", said, "/output"));
    page.on("dialog", (d) => page.view.complaints.push(d.message()));
    const shown = page.locator(".markdown");
    await shown.getByText("<script>alert(2)</script>").waitFor();
    expect(await shown.locator("img, script").count()).toBe(0);
    expect(await shown.locator("a").evaluateAll((all) => all.map((a) => a.getAttribute("href")))).toEqual([
      "https://example.com/i.png",
    ]);
  });

  test("run it again with its input, and remove it", async () => {
    const page = await open(runAddress("demo", run));
    await page.getByLabel("More").click();
    await page.getByRole("menuitem", { name: /Run it again/ }).click();
    await page.waitForFunction(
      () => (document.querySelector('[id="start.topic"]') as HTMLInputElement | null)?.value === "AI trends",
    );
    const again = await served.run("demo", { topic: "to be removed" });
    await served.wait("demo", again, "COMPLETED");
    await page.goto(`${served.base}/${runAddress("demo", again)}`);
    await page.getByText("completed").first().waitFor();
    await page.getByLabel("More").click();
    await page.getByRole("menuitem", { name: "Remove" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByRole("heading", { name: "Runs" }).waitFor();
    await expect(served.call("GET", `/workflows/demo/runs/${again}`)).rejects.toThrow("404");
  });
});

describe("a run under way", () => {
  test("the text of a model as it comes, and its usage", async () => {
    const run = await served.run("poem", { about: "autumn" });
    const page = await open(runAddress("poem", run, "/output"));
    // It begins when the page is there, however long that takes.
    await page.locator(".run-facts").getByText("running").waitFor();
    await page.getByRole("tab", { name: /Events\s*2/ }).waitFor();
    await served.call("POST", `/workflows/poem/runs/${run}/signal`, { name: "go", value: true });
    await page.locator(".stream.live .caret").waitFor();
    await page.locator(".stream.live", { hasText: "Autumn" }).waitFor();
    await page.view.shot("streaming");
    await page.locator("h3", { hasText: "Result" }).waitFor();
    await page.locator(".markdown li", { hasText: "gold" }).waitFor();
    await page.getByRole("tab", { name: "Graph" }).click();
    await page.getByLabel("Open text").click();
    await page.getByRole("button", { name: "Step text.model[1], completed" }).click();
    await page.getByText("What the model said").waitFor();
    await page.getByRole("heading", { name: "Usage" }).waitFor();
  });

  test("why it waits, a signal, and its end without a reload", async () => {
    const run = await served.run("waiting", {});
    const page = await open(runAddress("waiting", run, "/why"));
    await page.locator(".why-row", { hasText: "paid" }).waitFor();
    await page.view.shot("why");
    await page.getByLabel("More").click();
    await page.getByRole("menuitem", { name: "Send a signal" }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.getByLabel("Name").inputValue()).toBe("paid");
    await dialog.getByLabel(/Value/).fill('{"by": ');
    await dialog.getByRole("button", { name: "Send" }).click();
    await dialog.getByText("The value is no JSON").waitFor();
    await dialog.getByLabel(/Value/).fill('{"by": "card"}');
    await dialog.getByRole("button", { name: "Send" }).click();
    await page.locator(".run-facts").getByText("completed").waitFor();
    await page.getByRole("tab", { name: "Result" }).click();
    await page.locator("pre.json", { hasText: '"card"' }).waitFor();
  });

  test("cancel, with a reason", async () => {
    const run = await served.run("slow", { name: "x" });
    const page = await open(runAddress("slow", run));
    await page.locator(".g-step.s-waiting").waitFor();
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page
      .getByRole("dialog")
      .getByLabel(/Reason/)
      .fill("no longer wanted");
    await page.getByRole("button", { name: "Cancel the run" }).click();
    await page.getByText("Cancelled: no longer wanted.").waitFor();
    expect((await served.wait("slow", run, "CANCELLED")).status).toBe("CANCELLED");
    await page.locator(".g-step.s-cancelled").waitFor();
  });

  test("a failed run goes on from its failed step", async () => {
    const folder = join(served.folder, "fragile");
    mkdirSync(folder);
    const run = await served.run("fragile", { folder });
    await served.wait("fragile", run, "ERROR");
    const page = await open(runAddress("fragile", run));
    await page.getByText("The run failed").waitFor();
    await page.locator(".g-step.s-error", { hasText: "used" }).waitFor();
    await page.view.shot("failed");
    writeFileSync(join(folder, "fixed"), "all is well");
    await page.getByRole("button", { name: "Resume" }).click();
    await page.locator(".run-facts").getByText("completed").waitFor();
    expect((await served.wait("fragile", run, "COMPLETED")).content).toBe("all is well");
    await page.locator(".g-step.s-completed", { hasText: "used" }).waitFor();
  });

  test("the events go on after the server was killed and is back", async () => {
    const run = await served.run("waiting", {});
    const page = await open(runAddress("waiting", run, "/events"));
    await page.getByText("StepStarted").waitFor();
    await served.end(true);
    await page.getByText("connection lost, trying again").first().waitFor();
    await served.serve();
    await served.call("POST", `/workflows/waiting/runs/${run}/signal`, { name: "paid", value: 1 });
    await page.getByText("WorkflowCompleted").waitFor({ timeout: 60_000 });
    const shown = await page.locator(".ev-row .num").allTextContents();
    expect(shown).toEqual(shown.map((_, i) => String(i)));
  });
});

describe("questions", () => {
  test("a form from the type of the answer: what is wrong is told, then the run goes on", async () => {
    const run = await served.run("demo", { topic: "Asking", ask: true });
    await served.wait("demo", run, "PAUSED");
    const page = await open(runAddress("demo", run));
    const question = page.locator(".question");
    await question.getByText("Publish Asking?").waitFor();
    await page.view.shot("question");
    await question.getByRole("button", { name: "Yes" }).click();
    await question.getByLabel("priority").fill("9");
    await question.getByRole("button", { name: "Add" }).click();
    await question.locator(".list-item textarea").fill("first tag");
    await question.getByRole("button", { name: "Answer" }).click();
    await question.getByText("at most 5").waitFor();
    await question.getByLabel("priority").fill("4");
    await question.getByRole("button", { name: "Answer" }).click();
    await question.getByText("Really?").waitFor();
    await question.getByRole("button", { name: "Yes" }).click();
    await page.locator(".run-facts").getByText("completed").waitFor();
    await question.waitFor({ state: "detached" });
    const step = (await served.call("GET", `/workflows/demo/runs/${run}/steps/verdict`)) as {
      content: object;
    };
    expect(step.content).toEqual({
      publish: true,
      notes: "",
      channel: "blog",
      tags: ["first tag"],
      priority: 4,
    });
  });

  test("several at once, each on its own; a draft is edited", async () => {
    const run = await served.run("review", {});
    await served.wait("review", run, "PAUSED");
    const page = await open(runAddress("review", run));
    await page.locator(".question").nth(1).waitFor();
    expect(await page.locator(".question").count()).toBe(2);
    await page.view.shot("questions");
    await page.locator(".question", { hasText: "finance" }).getByLabel("Open the question").click();
    await page.locator(".question", { hasText: "finance" }).getByRole("button", { name: "No" }).click();
    await page.waitForFunction(() => document.querySelectorAll(".question").length === 1);
    await page.locator(".question", { hasText: "legal" }).getByRole("button", { name: "Yes" }).click();
    const review = page.locator(".question", { hasText: "Is this draft good?" });
    await review.getByRole("button", { name: "Edit" }).click();
    await review.getByLabel("stdout").fill("a better draft");
    await review.getByRole("button", { name: "Accept as edited" }).click();
    const doc = await served.wait("review", run, "COMPLETED");
    expect(doc.content).toBe("legal true, money false, draft a better draft");
  });
});

describe("child runs", () => {
  test("a child's question is told on its parent's page, and answered on its own", async () => {
    const run = await served.run("parent", {});
    const page = await open(runAddress("parent", run));
    await page.getByRole("link", { name: "Answer it there" }).click();
    const question = page.locator(".question");
    await question.getByText("May the child go on?").waitFor();
    await page.getByRole("link", { name: "parent run" }).waitFor();
    await question.getByRole("button", { name: "Yes" }).click();
    await page.locator(".run-facts").getByText("completed").waitFor();
    await page.getByRole("link", { name: "parent run" }).click();
    await page.locator(".run-workflow", { hasText: "parent" }).waitFor();
    await page.locator(".run-facts").getByText("completed").waitFor();
    expect((await served.wait("parent", run, "COMPLETED")).content).toBe("allowed");
  });
});

describe("lists", () => {
  test("runs: live, filtered, searched, a saved view, several cancelled at once", async () => {
    const page = await open("#/runs");
    const names = ["one", "two", "three"];
    const runs: string[] = [];
    for (const name of names) runs.push(await served.run("slow", { name }));
    // They appear by themselves.
    for (const run of runs) await page.locator(".run-row", { hasText: end(run) }).waitFor();
    await page.view.shot("runs");
    await page.getByLabel("Workflow", { exact: true }).selectOption("slow");
    await page.getByRole("button", { name: "running" }).click();
    await page.waitForFunction(() => document.querySelectorAll("a.run-row").length === 3);
    await page.getByLabel("Save this view").click();
    await page.getByLabel("Name").fill("slow ones");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByRole("button", { name: "Clear" }).click();
    await page.waitForFunction(() => document.querySelectorAll("a.run-row").length > 3);
    await page.getByLabel("Saved views").selectOption("slow ones");
    await page.waitForFunction(() => document.querySelectorAll("a.run-row").length === 3);
    expect(page.url()).toContain("status=RUNNING");
    await page.keyboard.press("/");
    await page.keyboard.type(end(runs[0]!));
    await page.waitForFunction(() => document.querySelectorAll("a.run-row").length === 1);
    await page.getByLabel("Search these runs").fill("");
    await page.waitForFunction(() => document.querySelectorAll("a.run-row").length === 3);
    for (const run of runs) await page.getByLabel(`Choose run ${end(run)}`).check();
    await page.view.shot("runs-chosen");
    await page.getByRole("button", { name: "Cancel 3" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel 3 runs" }).click();
    await page.getByText("3 runs asked to stop").waitFor();
    for (const run of runs) await served.wait("slow", run, "CANCELLED");
    await page.getByText("No run is like that").waitFor();
  });

  test("older runs are read when they are asked for", async () => {
    const runs: string[] = [];
    for (let i = 0; i < 130; ++i) runs.push(await served.run("echoed", { text: String(i) }));
    for (const run of runs) await served.wait("echoed", run, "COMPLETED");
    const page = await open("#/runs?workflow=echoed");
    const list = page.locator(".run-list");
    await page.locator("a.run-row", { hasText: end(runs[129]!) }).waitFor();
    const toEnd = () => list.evaluate((e) => (e.scrollTop = e.scrollHeight));
    await toEnd();
    await page.getByRole("button", { name: "Older runs" }).click();
    await page.getByRole("button", { name: "Older runs" }).waitFor({ state: "detached" });
    await toEnd();
    await page.locator("a.run-row", { hasText: end(runs[0]!) }).waitFor();
    // By keys alone: to the first one, chosen, opened.
    await list.evaluate((e) => (e.scrollTop = 0));
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await page.getByText("1 run chosen").waitFor();
    await page.keyboard.press("Enter");
    await page.waitForFunction((id) => location.hash.includes(id), runs[128]!);
  });

  test("workflows: started from a form, whose mistakes are told", async () => {
    const page = await open("#/workflows");
    await page.locator(".card", { hasText: "Every statement of the language" }).waitFor();
    await page.view.shot("workflows");
    await page.getByLabel("Search workflows").fill("poem");
    await page.waitForFunction(() => document.querySelectorAll(".card").length === 1);
    await page.getByLabel("Search workflows").fill("");
    await page
      .locator(".card", { hasText: "Every statement" })
      .getByRole("button", { name: "Start" })
      .click();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByText("is missing").waitFor();
    await page.getByLabel("topic").fill("From a form");
    await page.getByText("is missing").waitFor({ state: "detached" });
    await page.view.shot("start");
    await page.getByRole("button", { name: "As JSON" }).click();
    expect(JSON.parse(await page.getByLabel("the value as JSON").inputValue())).toMatchObject({
      topic: "From a form",
      items: ["a", "b", "c"],
    });
    await page.getByRole("button", { name: "As a form" }).click();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.waitForFunction(() => location.hash.startsWith("#/runs/demo/"));
    await page.locator(".run-facts").getByText("completed").waitFor();
  });

  test("a start form with a field of each kind: optional, nested, lists, maps, choices, anything", async () => {
    const page = await open("#/workflows/all_kinds/start");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByText("is missing").first().waitFor();
    await page.getByLabel("name", { exact: true }).fill("Ada");
    await page.getByLabel("price").fill("2.5");
    await page.getByRole("button", { name: "Yes" }).first().click();
    await page.getByLabel("kind").selectOption("card");
    await page.getByLabel("street").fill("Lane 1");
    for (const [i, what] of ["tea", "cup"].entries()) {
      await page.getByRole("button", { name: "Add" }).first().click();
      await page.getByLabel("what").nth(i).fill(what);
    }
    await page.getByLabel("count").nth(1).fill("12");
    await page.getByRole("button", { name: "Add" }).last().click();
    await page.getByLabel("key", { exact: true }).fill("tea");
    await page.getByLabel("value of tea").fill("40");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByText("at most 9").waitFor();
    await page.getByLabel("count").nth(1).fill("2");
    await page.view.shot("start-kinds");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.waitForFunction(() => location.hash.startsWith("#/runs/all_kinds/"));
    await page.locator(".run-facts").getByText("completed").waitFor();
    const run = (await page.evaluate(() => location.hash)).split("/")[3]!;
    const doc = (await served.call("GET", `/workflows/all_kinds/runs/${run}`)) as { input: object };
    expect(doc.input).toEqual({
      name: "Ada",
      age: null,
      price: 2.5,
      sure: true,
      kind: "card",
      address: { street: "Lane 1", zip: null },
      lines: [
        { what: "tea", count: 1 },
        { what: "cup", count: 2 },
      ],
      stock: { tea: 40 },
      rest: null,
    });
  });

  test("a workflow: its graph, source, runs and schemas; an edit with a mistake", async () => {
    const page = await open("#/workflows/demo/graph");
    await page.getByRole("button", { name: "Step first", exact: true }).click();
    await page.locator(".panel", { hasText: "exec.run" }).getByRole("link", { name: /Line/ }).click();
    await page.locator(".src-line.here", { hasText: "step first" }).waitFor();
    const file = join(served.folder, "flows", "demo.kflow");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('exec.run(["echo","short"])', 'exec.rum(["echo","short"])'));
    await page.locator(".problems .error", { hasText: "exec.rum" }).waitFor({ timeout: 40_000 });
    await page.locator(".src-line.error", { hasText: "exec.rum" }).waitFor();
    await page.view.shot("source");
    await page.goto(`${served.base}/#/workflows`);
    await page.getByText("the last good program is served on").waitFor();
    writeFileSync(file, text);
    await page
      .getByText("the last good program is served on")
      .waitFor({ state: "detached", timeout: 40_000 });
    await page.goto(`${served.base}/#/workflows/demo/about`);
    await page.locator("pre.json", { hasText: '"maxLength": 80' }).waitFor();
    await page.keyboard.press("4");
    await page.locator("a.run-row").first().waitFor();
  });

  test("schedules: added, disabled, enabled, started now, removed", async () => {
    const page = await open("#/schedules");
    await page.getByRole("button", { name: "New schedule" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Workflow").selectOption("slow");
    await dialog.getByLabel(/^name/).fill("of the schedule");
    await dialog.getByLabel(/^When/).fill("0 8 * * SUN");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    const given = page.locator("tr", { hasText: "0 8 * * SUN" });
    await given.waitFor();
    await given.getByRole("button", { name: "Start now" }).click();
    await page.waitForFunction(() => location.hash.startsWith("#/runs/slow/"));
    const begun = /runs\/slow\/([^/?]+)/.exec(page.url())![1]!;
    const asked = (await served.call("GET", `/workflows/slow/runs/${begun}`)) as { input: unknown };
    expect(asked.input).toEqual({ name: "of the schedule" });
    await served.call("POST", `/workflows/slow/runs/${begun}/cancel`, {});
    await page.goto(`${served.base}/#/schedules`);
    await given.getByLabel("Remove this schedule").click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await given.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "New schedule" }).click();
    await dialog.getByLabel("Workflow").selectOption("waiting");
    await dialog.getByLabel(/^When/).fill("never");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await dialog.locator(".error-box").waitFor();
    await dialog.getByLabel(/^When/).fill("0 9 * * MON");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    const row = page.locator("tr", { hasText: "0 9 * * MON" });
    await row.waitFor();
    await page.view.shot("schedules");
    await row.getByRole("button", { name: "Disable" }).click();
    await row.getByText("off").waitFor();
    await row.getByRole("button", { name: "Enable" }).click();
    await row.getByText("off").waitFor({ state: "detached" });
    await row.getByRole("button", { name: "Start now" }).click();
    await page.waitForFunction(() => location.hash.startsWith("#/runs/waiting/"));
    const run = /runs\/waiting\/([^/?]+)/.exec(page.url())![1]!;
    await served.call("POST", `/workflows/waiting/runs/${run}/cancel`, {});
    await page.goto(`${served.base}/#/schedules`);
    await row.getByLabel("Remove this schedule").click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await row.waitFor({ state: "detached" });
  });

  test("sessions: state looked at and edited, renamed, removed", async () => {
    for (let i = 0; i < 2; ++i) {
      const run = await served.run("counted", {}, { session_id: "mine" });
      await served.wait("counted", run, "COMPLETED");
    }
    const page = await open("#/sessions");
    await page.locator("tr", { hasText: "mine" }).click();
    await page.locator("pre.json", { hasText: '"count": 2' }).waitFor();
    await page.getByText("2 runs").waitFor();
    await page.view.shot("session");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("State as JSON").fill('{"count": 41}');
    await page.getByRole("button", { name: "Save" }).click();
    await page.locator("pre.json", { hasText: '"count": 41' }).waitFor();
    const run = await served.run("counted", {}, { session_id: "mine" });
    expect((await served.wait("counted", run, "COMPLETED")).content).toBe(42);
    await page.getByRole("button", { name: "Rename" }).click();
    await page.getByLabel("Name", { exact: true }).fill("My counter");
    await page.getByRole("dialog").getByRole("button", { name: "Rename" }).click();
    await page.locator(".run-workflow", { hasText: "My counter" }).waitFor();
    await page.getByLabel("Remove this session").click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByRole("heading", { name: "Sessions" }).waitFor();
    await page.locator("tr", { hasText: "My counter" }).waitFor({ state: "detached" });
  });
});

describe("the page itself", () => {
  test("keys, dark and light, and what it says of a wrong address", async () => {
    const page = await open("#/runs", { colorScheme: "dark" });
    await page.getByRole("heading", { name: "Runs" }).waitFor();
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe("dark");
    await page.keyboard.press("t");
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe("light");
    await page.keyboard.press("g");
    await page.keyboard.press("w");
    await page.getByRole("heading", { name: "Workflows" }).waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog").getByText("go to sessions").waitFor();
    await page.keyboard.press("Escape");
    await page.goto(`${served.base}/#/runs/demo/00000000-0000-7000-8000-000000000000`);
    const problem = page.getByRole("alert");
    await problem.waitFor();
    expect(await problem.textContent()).toContain("no such run");
    await page.goto(`${served.base}/#/workflows/nonsense`);
    await page
      .getByRole("alert")
      .getByText(/nonsense/)
      .waitFor();
  });

  test("on a phone: nothing is wider than the screen, and all of it can be reached", async () => {
    const run = await served.run("demo", { topic: "On a phone", ask: true });
    await served.wait("demo", run, "PAUSED");
    const page = await open("#/runs", {
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      isMobile: true,
    });
    const fits = async () =>
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    await page.locator("a.run-row", { hasText: "demo" }).first().tap();
    await page.locator(".question").waitFor();
    await page.view.shot("phone-question");
    await fits();
    await page.locator(".question").getByLabel("Fold the question").tap();
    await page.getByRole("tab", { name: "Timeline" }).tap();
    await page.locator(".tl-label", { hasText: "first" }).tap();
    await page.getByLabel("Step first", { exact: true }).waitFor();
    await page.view.shot("phone-step");
    await fits();
    await page.getByLabel("Close the step").tap();
    for (const tab of ["Events", "Output", "Why"]) {
      await page.getByRole("tab", { name: tab }).tap();
      await fits();
    }
    for (const view of ["Workflows", "Schedules", "Sessions", "Runs"]) {
      await page.getByRole("navigation").getByRole("link", { name: view }).tap();
      await page.getByRole("heading", { name: view }).waitFor();
      await fits();
    }
    await page.view.shot("phone-runs");
    await served.call("POST", `/workflows/demo/runs/${run}/cancel`, {});
  });

  test("ten thousand events and thousands of steps: the document stays small, scrolling shows the rest", async () => {
    const run = await served.run("many", { n: 5000 });
    await served.wait("many", run, "COMPLETED");
    const page = await open(runAddress("many", run, "/events"));
    await page.getByText(/the run has ended/).waitFor({ timeout: 60_000 });
    await page.getByText("WorkflowCompleted").waitFor();
    const nodes = () => page.evaluate(() => document.querySelectorAll("*").length);
    expect(await nodes()).toBeLessThan(1500);
    await page.getByLabel("From event").fill("5000");
    await page.getByRole("button", { name: "Go", exact: true }).click();
    await page.locator(".ev-row.current").waitFor();
    await page.getByRole("tab", { name: "Timeline" }).click();
    await page.getByLabel("Open for all").or(page.getByLabel("Open all")).first().click();
    await page.getByText("[0]", { exact: true }).waitFor();
    await page.locator(".tl-rows").evaluate((e) => (e.scrollTop = e.scrollHeight));
    await page.getByText("[4999]", { exact: true }).waitFor();
    expect(await nodes()).toBeLessThan(2500);
    await page.view.shot("many-timeline");
    await page.getByRole("tab", { name: "Graph" }).click();
    await page.locator(".strip .cell").first().waitFor();
    expect(await page.locator(".strip .cell").count()).toBeLessThanOrEqual(48);
    await page.getByRole("button", { name: "Step all[4999].one, completed" }).waitFor();
    await page.view.shot("many-graph");
    expect(await nodes()).toBeLessThan(1500);
  });
});

describe("a run that says much", () => {
  test("a thousand steps in the graph, and the live end of the events: the document stays small", async () => {
    const steps = Array.from({ length: 1000 }, (_, i) => `  step s${i} = log("line ${i}")`).join("\n");
    writeFileSync(
      join(served.folder, "flows", "long.kflow"),
      `kflow 1

workflow long() -> int {
${steps}
  return 1000
}

/// About 250 steps a second.
workflow paced(n: int) -> int {
  for i in lists.range(n) as all {
    limit: 10
    step one = sleep(40ms)
  }
  return n
}
`,
    );
    await served.end();
    await served.serve();
    const nodes = (page: Page) => page.evaluate(() => document.querySelectorAll("*").length);
    const run = await served.run("long", {});
    await served.wait("long", run, "COMPLETED");
    const graph = await open(runAddress("long", run));
    await graph.getByRole("button", { name: /^Step s0,/ }).waitFor();
    expect(await nodes(graph)).toBeLessThan(1500);
    await graph.locator(".graph-scroll").evaluate((e) => (e.scrollTop = e.scrollHeight));
    await graph.getByRole("button", { name: /^Step s999,/ }).waitFor();
    expect(await graph.getByRole("button", { name: /^Step s0,/ }).count()).toBe(0);
    expect(await nodes(graph)).toBeLessThan(1500);

    const live = await served.run("paced", { n: 5000 });
    const page = await open(runAddress("paced", live, "/events"));
    // The end stays in sight: its last rows are the newest, and few are in the document.
    const last = async () => Number(await page.locator(".ev-list .v-row:last-child .num").textContent());
    await page.waitForFunction(
      () => Number(document.querySelector(".ev-list .v-row:last-child .num")?.textContent) > 300,
    );
    expect(await page.locator(".ev-list .v-row").count()).toBeLessThan(80);
    expect(await nodes(page)).toBeLessThan(1500);
    const seen = await last();
    await page.waitForFunction(
      (n) => Number(document.querySelector(".ev-list .v-row:last-child .num")?.textContent) > n + 100,
      seen,
    );
    expect(
      await page.locator(".ev-list").evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight),
    ).toBeLessThan(29);
    await served.call("POST", `/workflows/paced/runs/${live}/cancel`, {});
  });
});

describe("with a token", () => {
  const guarded = new Served();
  beforeAll(() =>
    guarded.start({ token: "a-long-token-for-tests-only", reader: "another-token-for-looking" }),
  );
  afterAll(() => guarded.stop());
  test("sign in, with the wrong token and the right one, and out again", async () => {
    const view = await guarded.open("#/workflows");
    opened.push(view);
    const { page } = view;
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await view.shot("sign-in");
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("The token was not accepted").waitFor();
    await page.getByLabel("Token").fill("a-long-token-for-tests-only");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator(".card").first().waitFor();
    expect(await page.evaluate(() => document.cookie)).toBe("");
    await page.reload();
    await page.locator(".card").first().waitFor();
    await page.getByLabel(/^Sign out/).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
  });
  test("who may only look is offered nothing else", async () => {
    const view = await guarded.open("#/workflows");
    opened.push(view);
    const { page } = view;
    await page.getByLabel("Token").fill("another-token-for-looking");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator(".card").first().waitFor();
    expect(await page.getByRole("button", { name: "Start" }).count()).toBe(0);
    await page.getByRole("link", { name: "Schedules" }).click();
    await page.getByRole("heading", { name: "Schedules" }).waitFor();
    expect(await page.getByRole("button", { name: "New schedule" }).count()).toBe(0);
  });
});
