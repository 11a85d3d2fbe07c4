// A real `kflow serve` on a store and a folder of its own, a stand-in for the models, and a browser.
// KFLOW names the program, KFLOW_FAKE_MODEL the stand-in, CHROMIUM the browser; KFLOW_PAGE, if it is
// set, a built page that is shown instead of the one in the program.
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from "playwright-core";

const KFLOW = process.env.KFLOW ?? "kflow";
const FAKE_MODEL = process.env.KFLOW_FAKE_MODEL ?? "fake-model";
const SHOTS = process.env.KFLOW_SHOTS ?? "";
const flows = new URL("flows", import.meta.url).pathname;
const demo = new URL("../tests/data/demo.kflow", import.meta.url).pathname; // the program of the recorded run

export const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

async function until<T>(what: string, look: () => Promise<T | undefined | false>, ms = 60_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await sleep(50);
  }
}

export interface RunDoc {
  run_id: string;
  workflow_id: string;
  status: string;
  content: unknown;
}

export class Served {
  readonly folder = mkdtempSync(join(tmpdir(), "kflow-page-"));
  base = "";
  browser!: Browser;
  private server: ChildProcess | null = null;
  private model: ChildProcess | null = null;
  private output = "";
  private environment: NodeJS.ProcessEnv = {};
  private port = 0;

  /** `token`: the server asks for it; `reader` is one that may look only. `script`: what the models answer. */
  async start(options: { token?: string; reader?: string; script?: unknown } = {}) {
    cpSync(flows, join(this.folder, "flows"), { recursive: true });
    cpSync(demo, join(this.folder, "flows", "demo.kflow"));
    mkdirSync(join(this.folder, "store"));
    this.environment = { ...process.env, OPENAI_API_KEY: "none" };
    delete this.environment.KFLOW_TOKEN;
    if (options.token) this.environment.KFLOW_TOKEN = options.token;
    if (options.reader) {
      this.environment.READER_TOKEN = options.reader;
      appendFileSync(
        join(this.folder, "flows", "kflow.yaml"),
        "server: { tokens: [{ name: reader, env: READER_TOKEN, scopes: [read] }] }\n",
      );
    }
    if (options.script) {
      const script = join(this.folder, "script.json");
      const portFile = join(this.folder, "port");
      writeFileSync(script, JSON.stringify(options.script));
      this.model = spawn(FAKE_MODEL, [script, "--port-file", portFile], { stdio: "ignore" });
      const port = await until("the stand-in", async () => {
        try {
          return readFileSync(portFile, "utf8").trim();
        } catch {
          return undefined;
        }
      });
      this.environment.KFLOW_MODELS_URL = `http://127.0.0.1:${port}`;
    }
    this.port = await freePort();
    this.base = `http://127.0.0.1:${this.port}`;
    await this.serve();
    this.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
  }

  async serve() {
    const server = spawn(
      KFLOW,
      ["serve", ".", "--listen", `127.0.0.1:${this.port}`, "--store", join(this.folder, "store")],
      {
        cwd: join(this.folder, "flows"),
        env: this.environment,
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    this.server = server;
    for (const stream of [server.stdout, server.stderr]) stream?.on("data", (d) => (this.output += d));
    await until(`kflow serve (${this.output})`, async () => {
      if (server.exitCode !== null) throw new Error(`kflow serve ended: ${this.output}`);
      return (await fetch(`${this.base}/health`).catch(() => null))?.ok;
    });
  }

  /** Ends the server, at once if `hard`. */
  async end(hard = false) {
    const server = this.server;
    this.server = null;
    if (!server || server.exitCode !== null) return;
    const ended = new Promise((done) => server.once("exit", done));
    server.kill(hard ? "SIGKILL" : "SIGTERM");
    const patience = setTimeout(() => server.kill("SIGKILL"), 10_000);
    await ended;
    clearTimeout(patience);
  }

  async stop() {
    await this.browser?.close();
    await this.end();
    this.model?.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  // ---- the interface, for what a test begins with

  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.base + path, {
      method,
      headers: { "Content-Type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }
  async run(workflow: string, input: unknown, more: object = {}): Promise<string> {
    const body = { input, stream: false, background: true, ...more };
    return ((await this.call("POST", `/workflows/${workflow}/runs`, body)) as { run_id: string }).run_id;
  }
  async wait(workflow: string, run: string, ...statuses: string[]): Promise<RunDoc> {
    return until(`run ${run} is ${statuses.join()}`, async () => {
      const doc = (await this.call("GET", `/workflows/${workflow}/runs/${run}`)) as RunDoc;
      return statuses.includes(doc.status) ? doc : undefined;
    });
  }

  // ---- pages

  /** A page at that address. What its console or its policy complains of is a failure. */
  async open(address: string, options: BrowserContextOptions = {}): Promise<View> {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 820 }, ...options });
    context.setDefaultTimeout(20_000);
    if (process.env.KFLOW_PAGE) {
      const body = readFileSync(process.env.KFLOW_PAGE, "utf8");
      await context.route(`${this.base}/`, (r) =>
        r.fulfill({ body, contentType: "text/html; charset=utf-8" }),
      );
    }
    const page = await context.newPage();
    const view = new View(page, context, this.base);
    await page.goto(`${this.base}/${address}`);
    return view;
  }
}

export class View {
  readonly complaints: string[] = [];
  readonly page: Page;
  private context: BrowserContext;
  constructor(page: Page, context: BrowserContext, base: string) {
    this.page = page;
    this.context = context;
    page.on("pageerror", (e) => this.complaints.push(String(e)));
    page.on("console", (m) => {
      // The browser itself tells of every answer that is no success: those are shown on the page.
      if (m.type() === "error" && !/Failed to load resource/.test(m.text())) this.complaints.push(m.text());
    });
    page.on("request", (r) => {
      if (!r.url().startsWith(base) && !/^(data|blob):/.test(r.url()))
        this.complaints.push(`asked for ${r.url()}`);
    });
  }
  /** A picture for whoever looks, below KFLOW_SHOTS. */
  async shot(name: string) {
    if (SHOTS) await this.page.screenshot({ path: join(SHOTS, `${name}.png`) });
  }
  /** Nothing was complained of. */
  async close(): Promise<string[]> {
    await this.context.close();
    return this.complaints;
  }
}
