// Requests to the server's own interface; every failure becomes an ApiError that can be shown.
import type * as T from "./types.ts";

export interface FieldProblem {
  path: string;
  message: string;
}

/** A request that was not answered as hoped. `status` 0: the server could not be reached. */
export class ApiError extends Error {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly fields: FieldProblem[];
  constructor(status: number, title: string, detail: string, fields: FieldProblem[] = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.fields = fields;
  }
}

/** Called with each answer 401: the page asks to sign in. */
let onUnauthorized: () => void = () => {};
export function whenUnauthorized(call: () => void) {
  onUnauthorized = call;
}

type Query = Record<string, string | number | boolean | null | undefined>;

export function withQuery(path: string, query: Query = {}) {
  const parts = Object.entries(query)
    .filter(([, v]) => v !== undefined && v !== null && v !== "")
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(String(v))}`);
  return parts.length === 0 ? path : `${path}?${parts.join("&")}`;
}

/** What an answer that is no success says. */
export async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  let title = response.statusText || `HTTP ${response.status}`;
  let detail = text.slice(0, 2000);
  const fields: FieldProblem[] = [];
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    if (typeof body.title === "string") title = body.title;
    detail =
      typeof body.detail === "string"
        ? body.detail
        : body.detail !== undefined
          ? JSON.stringify(body.detail)
          : "";
    if (Array.isArray(body.errors)) {
      for (const e of body.errors as Record<string, unknown>[]) {
        if (typeof e === "string") fields.push({ path: "", message: e });
        else
          fields.push({
            path: String(e.path ?? e.pointer ?? ""),
            message: String(e.message ?? e.detail ?? ""),
          });
      }
    }
  } catch {
    // Not JSON: the text itself is the detail.
  }
  return new ApiError(response.status, title, detail, fields);
}

export async function request(
  method: string,
  path: string,
  options: { query?: Query; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<unknown> {
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  const init: RequestInit = { method, headers, credentials: "same-origin" };
  if (options.body !== undefined) init.body = JSON.stringify(options.body);
  if (options.signal) init.signal = options.signal;
  let response: Response;
  try {
    response = await fetch(withQuery(path, options.query), init);
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new ApiError(
      0,
      "the server cannot be reached",
      "It may be stopped or restarting. What is shown may be out of date.",
    );
  }
  if (!response.ok) {
    if (response.status === 401) onUnauthorized();
    throw await problemOf(response);
  }
  if (response.status === 204) return null;
  const text = await response.text();
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(response.status, "the answer is no JSON", text.slice(0, 200));
  }
}

/** A list, whether bare or with its `meta`. */
export function pageOf<E>(answer: unknown): T.Page<E> {
  if (Array.isArray(answer)) return { data: answer as E[], next: null, total: answer.length };
  const object = (answer ?? {}) as {
    data?: E[];
    meta?: { next_cursor?: string | null; total_count?: number };
  };
  return {
    data: object.data ?? [],
    next: object.meta?.next_cursor ?? null,
    total: object.meta?.total_count ?? null,
  };
}

const enc = encodeURIComponent;
const runPath = (workflow: string, run: string) => `/workflows/${enc(workflow)}/runs/${enc(run)}`;

export interface RunQuery {
  workflow_id?: string;
  status?: string;
  session_id?: string;
  tag?: string;
  since?: string;
  until?: string;
  limit?: number;
  cursor?: string | null;
  children?: boolean;
}

export const api = {
  info: async () => (await request("GET", "/session-info")) as T.SessionInfo,
  signIn: (token: string) => request("POST", "/signin", { body: { token } }),
  signOut: () => request("POST", "/signout", { body: {} }),

  runs: async (query: RunQuery, signal?: AbortSignal) =>
    pageOf<T.RunRow>(await request("GET", "/runs", { query: { ...query }, ...(signal ? { signal } : {}) })),
  runAnywhere: async (run: string) => (await request("GET", `/runs/${enc(run)}`)) as T.RunDocument,
  run: async (workflow: string, run: string, signal?: AbortSignal) =>
    (await request("GET", runPath(workflow, run), signal ? { signal } : {})) as T.RunDocument,
  start: async (workflow: string, body: T.JsonObject, key: string) =>
    (await request("POST", `/workflows/${enc(workflow)}/runs`, {
      body: { ...body, stream: false, background: true },
      headers: { "Idempotency-Key": key },
    })) as { run_id: string },
  cancel: (workflow: string, run: string, kill: boolean, reason: string) =>
    request("POST", `${runPath(workflow, run)}/cancel`, {
      body: { ...(kill ? { kill } : {}), ...(reason ? { reason } : {}) },
    }),
  retry: async (workflow: string, run: string) =>
    (await request("POST", `${runPath(workflow, run)}/retry`, { body: {} })) as { run_id: string },
  fork: async (workflow: string, run: string, body: T.JsonObject) =>
    (await request("POST", `${runPath(workflow, run)}/fork`, { body })) as { run_id: string },
  signal: (workflow: string, run: string, name: string, value: T.Json, key: string) =>
    request("POST", `${runPath(workflow, run)}/signal`, {
      body: { name, value },
      headers: { "Idempotency-Key": key },
    }),
  answer: (workflow: string, run: string, answers: T.Answer[]) =>
    request("POST", `${runPath(workflow, run)}/continue`, {
      body: { step_requirements: answers as unknown as T.Json, stream: false, background: true },
    }),
  remove: (workflow: string, run: string) => request("DELETE", runPath(workflow, run)),
  steps: async (workflow: string, run: string, brief: boolean, signal?: AbortSignal) =>
    pageOf<T.StepRecord>(
      await request("GET", `${runPath(workflow, run)}/steps`, {
        query: brief ? { brief } : {},
        ...(signal ? { signal } : {}),
      }),
    ).data,
  step: async (workflow: string, run: string, path: string) =>
    (await request("GET", `${runPath(workflow, run)}/steps/${enc(path)}`)) as T.StepRecord,
  why: async (workflow: string, run: string, signal?: AbortSignal) =>
    pageOf<T.Waiting | string>(
      await request("GET", `${runPath(workflow, run)}/why`, signal ? { signal } : {}),
    ).data.map((w) => (typeof w === "string" ? { text: w } : w)),
  eventsPath: (workflow: string, run: string) => `${runPath(workflow, run)}/events`,

  workflows: async () => pageOf<T.WorkflowRow>(await request("GET", "/workflows")).data,
  workflow: async (id: string, version?: string) =>
    (await request("GET", `/workflows/${enc(id)}`, { query: { version } })) as T.WorkflowDocument,
  sources: async () => pageOf<T.SourceFile>(await request("GET", "/sources")).data,

  schedules: async () => pageOf<T.Schedule>(await request("GET", "/schedules")).data,
  addSchedule: (body: T.JsonObject) => request("POST", "/schedules", { body }),
  schedule: (id: string, act: "enable" | "disable" | "trigger") =>
    request("POST", `/schedules/${enc(id)}/${act}`, { body: {} }) as Promise<{ run_id?: string } | null>,
  removeSchedule: (id: string) => request("DELETE", `/schedules/${enc(id)}`),

  sessions: async (cursor?: string | null) =>
    pageOf<T.Session>(await request("GET", "/sessions", { query: { type: "workflow", limit: 100, cursor } })),
  session: async (id: string) => (await request("GET", `/sessions/${enc(id)}`)) as T.Session,
  sessionRuns: async (id: string) =>
    pageOf<T.RunRow>(
      await request("GET", "/runs", { query: { session_id: id, children: true, limit: 200 } }),
    ),
  renameSession: (id: string, name: string) =>
    request("POST", `/sessions/${enc(id)}/rename`, { body: { session_name: name } }),
  patchSession: (id: string, body: T.JsonObject) => request("PATCH", `/sessions/${enc(id)}`, { body }),
  removeSession: (id: string) => request("DELETE", `/sessions/${enc(id)}`),
};

export const newKey = () =>
  typeof crypto.randomUUID === "function"
    ? crypto.randomUUID()
    : `${Date.now()}-${Math.random().toString(36).slice(2)}`;
