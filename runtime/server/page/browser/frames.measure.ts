// How long frames take where there is much to show: KFLOW_MEASURE=1 npx vitest run --config
// vitest.browser.config.ts. Prints, asserts nothing: figures are of the machine. What keeps them small
// (few nodes, whatever the run) is asserted in page.test.ts.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { Served, sleep, type View } from "./harness.ts";

const served = new Served();
const STEPS = 1000;

beforeAll(async () => {
  await served.start();
  const steps = Array.from({ length: STEPS }, (_, i) => `  step s${i} = log("line ${i}")`).join("\n");
  writeFileSync(
    join(served.folder, "flows", "long.kflow"),
    `kflow 1

workflow long() -> int {
${steps}
  return ${STEPS}
}

/// About 250 steps and so 500 events a second.
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
});
afterAll(() => served.stop());

// The frames while `act` goes on in the page, and the tasks of more than 50 ms.
async function frames(view: View, name: string, act: () => Promise<void>) {
  await view.page.evaluate(() => {
    const w = window as unknown as { frames: number[]; longs: number[]; watching: boolean };
    w.frames = [];
    w.longs = [];
    w.watching = true;
    const observer = new PerformanceObserver((l) => {
      if (!w.watching) observer.disconnect();
      else for (const e of l.getEntries()) w.longs.push(Math.round(e.duration));
    });
    observer.observe({ type: "longtask" });
    let last = performance.now();
    const tick = (now: number) => {
      w.frames.push(now - last);
      last = now;
      if (w.watching) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  const session = await view.page.context().newCDPSession(view.page);
  await session.send("Performance.enable");
  const metrics = async () =>
    Object.fromEntries((await session.send("Performance.getMetrics")).metrics.map((m) => [m.name, m.value]));
  const before = await metrics();
  await act();
  const after = await metrics();
  const spent = ["Script", "RecalcStyle", "Layout", "Task"]
    .map((n) => `${n} ${(((after[`${n}Duration`] ?? 0) - (before[`${n}Duration`] ?? 0)) * 1000).toFixed(0)}`)
    .join("  ");
  await session.detach();
  const { all, longs, nodes } = await view.page.evaluate(() => {
    const w = window as unknown as { frames: number[]; longs: number[]; watching: boolean };
    w.watching = false;
    return { all: w.frames, longs: w.longs, nodes: document.querySelectorAll("*").length };
  });
  all.sort((a, b) => a - b);
  const at = (p: number) => (all[Math.min(all.length - 1, Math.floor(all.length * p))] ?? 0).toFixed(0);
  console.log(
    `${name.padEnd(44)} ${String(all.length).padStart(4)} frames  p50 ${at(0.5)}  p95 ${at(0.95)}  p99 ${at(0.99)}  max ${at(1)} ms  over 50 ms: ${all.filter((f) => f > 50).length}  long tasks ${longs.length}  nodes ${nodes}  ms in all: ${spent}`,
  );
}

// From the top to the bottom and up again, in steps of a frame.
const scroll = (view: View, selector: string) => async () => {
  await view.page.evaluate(async (s) => {
    const e = document.querySelector(s)!;
    for (const way of [0, 1]) {
      for (let i = 0; i <= 120; ++i) {
        e.scrollTop = (way === 0 ? i / 120 : 1 - i / 120) * e.scrollHeight;
        await new Promise(requestAnimationFrame);
      }
    }
  }, selector);
};
const wheel = (view: View, selector: string, keys: "Control" | null) => async () => {
  const box = (await view.page.locator(selector).first().boundingBox())!;
  await view.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  if (keys) await view.page.keyboard.down(keys);
  for (let i = 0; i < 60; ++i) {
    await view.page.mouse.wheel(0, i < 30 ? -60 : 60);
    await sleep(16);
  }
  if (keys) await view.page.keyboard.up(keys);
};

test("frames", async () => {
  const many = await served.run("many", { n: 5000 });
  const long = await served.run("long", {});
  await served.wait("many", many, "COMPLETED");
  await served.wait("long", long, "COMPLETED");

  let view = await served.open(`#/runs/many/${many}/events`);
  await view.page.getByText(/the run has ended/).waitFor({ timeout: 60_000 });
  await frames(view, "10 000 events: opening again", async () => {
    await view.page.getByRole("tab", { name: "Timeline" }).click();
    await view.page.getByRole("tab", { name: "Events" }).click();
    await sleep(500);
  });
  await frames(view, "10 000 events: scrolling all of them", scroll(view, ".ev-list"));
  await frames(view, "10 000 events: typing a filter", async () => {
    await view.page.getByLabel("Filter events").pressSequentially("line 499", { delay: 60 });
    await view.page.getByLabel("Filter events").fill("");
  });
  await view.page.getByRole("tab", { name: "Timeline" }).click();
  await frames(view, "5 000 iterations, timeline: opening all", async () => {
    await view.page.getByLabel("Open for all").or(view.page.getByLabel("Open all")).first().click();
    await view.page.getByText("[0]", { exact: true }).waitFor();
    await sleep(300);
  });
  await frames(view, "5 000 iterations, timeline: scrolling", scroll(view, ".tl-rows"));
  await frames(view, "5 000 iterations, timeline: zooming", wheel(view, ".tl-rows", "Control"));
  await view.close();

  view = await served.open(`#/runs/long/${long}`);
  await frames(view, "1 000 steps, graph: opening", async () => {
    await view.page.getByRole("button", { name: /^Step s0,/ }).waitFor();
    await sleep(1000);
  });
  await frames(view, "1 000 steps, graph: panning", wheel(view, ".graph", null));
  await frames(view, "1 000 steps, graph: zooming", wheel(view, ".graph", "Control"));
  await frames(view, "1 000 steps, graph: all of it", async () => {
    await view.page.keyboard.press("0");
    await view.page
      .getByLabel(/fit|whole|all of it/i)
      .first()
      .click()
      .catch(() => {});
    await sleep(500);
  });
  await view.page.getByRole("tab", { name: "Timeline" }).click();
  await frames(view, "1 000 steps, timeline: scrolling", scroll(view, ".tl-rows"));
  await frames(view, "1 000 steps, timeline: zooming", wheel(view, ".tl-rows", "Control"));
  await view.close();

  for (const tab of ["events", "timeline", ""]) {
    const run = await served.run("paced", { n: 5000 });
    view = await served.open(`#/runs/paced/${run}${tab && `/${tab}`}`);
    await sleep(1500);
    const before = await eventCount(run);
    const begin = Date.now();
    await frames(view, `live, ${tab || "graph"}`, async () => void (await sleep(8000)));
    const rate = ((await eventCount(run)) - before) / ((Date.now() - begin) / 1000);
    console.log(`  ${rate.toFixed(0)} events a second came`);
    await served.call("POST", `/workflows/paced/runs/${run}/cancel`, {});
    await view.close();
  }
}, 300_000);

async function eventCount(run: string): Promise<number> {
  return ((await served.call("GET", `/workflows/paced/runs/${run}`)) as { event_count: number }).event_count;
}
