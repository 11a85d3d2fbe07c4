// What the list of runs shows: filters, the text that is searched for, and views that were saved.
import { RUN_STATUSES, type RunRow, type RunStatus } from "../api/types.ts";
import type { RunQuery } from "../api/client.ts";
import { errorText } from "./format.ts";

export interface RunFilters {
  text: string;
  statuses: RunStatus[];
  workflow: string;
  session: string;
  tag: string;
  /** "", or a length of time such as 1h: runs that began since then. */
  since: string;
  children: boolean;
}

export const NO_FILTERS: RunFilters = {
  text: "",
  statuses: [],
  workflow: "",
  session: "",
  tag: "",
  since: "",
  children: false,
};

export interface SavedView {
  name: string;
  filters: RunFilters;
}

export const SINCE: [string, string][] = [
  ["", "any time"],
  ["15m", "15 minutes"],
  ["1h", "1 hour"],
  ["24h", "24 hours"],
  ["7d", "7 days"],
];
const UNIT_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The moment that `since` means, as a whole minute so that equal questions have equal answers. */
export function sinceMoment(since: string, now: number): string | undefined {
  const m = /^(\d+)([mhd])$/.exec(since);
  if (!m) return undefined;
  const at = now - Number(m[1]) * UNIT_MS[m[2]!]!;
  return new Date(Math.floor(at / 60_000) * 60_000).toISOString();
}

export function queryOf(f: RunFilters, now: number): RunQuery {
  const out: RunQuery = {};
  if (f.workflow) out.workflow_id = f.workflow;
  if (f.statuses.length > 0) out.status = f.statuses.join(",");
  if (f.session) out.session_id = f.session;
  if (f.tag) out.tag = f.tag;
  const since = sinceMoment(f.since, now);
  if (since) out.since = since;
  if (f.children) out.children = true;
  return out;
}

/** Filters as the address has them, so that a view can be sent to somebody. */
export function toParams(f: RunFilters): Record<string, string> {
  const out: Record<string, string> = {};
  if (f.text) out.q = f.text;
  if (f.statuses.length > 0) out.status = f.statuses.join(",");
  if (f.workflow) out.workflow = f.workflow;
  if (f.session) out.session = f.session;
  if (f.tag) out.tag = f.tag;
  if (f.since) out.since = f.since;
  if (f.children) out.children = "1";
  return out;
}

export function fromParams(p: Record<string, string>): RunFilters {
  const known = new Set<string>(RUN_STATUSES);
  return {
    text: p.q ?? "",
    statuses: (p.status ?? "").split(",").filter((s) => known.has(s)) as RunStatus[],
    workflow: p.workflow ?? "",
    session: p.session ?? "",
    tag: p.tag ?? "",
    since: SINCE.some(([value]) => value === p.since) ? (p.since ?? "") : "",
    children: p.children === "1",
  };
}

/** Every word must be somewhere in what the row shows. */
export function matches(run: RunRow, text: string): boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const all = [
    run.run_id,
    run.workflow_id,
    run.workflow_name,
    run.status,
    run.session_id,
    run.user_id,
    run.current_step,
    errorText(run.error),
    ...(run.tags ?? []),
  ]
    .join(" ")
    .toLowerCase();
  return words.every((w) => all.includes(w));
}

const KEY = "kflow.views";

interface Storage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export function loadViews(storage: Storage): SavedView[] {
  try {
    const all = JSON.parse(storage.getItem(KEY) ?? "[]") as SavedView[];
    return all
      .filter((v) => typeof v.name === "string" && typeof v.filters === "object")
      .map((v) => ({ name: v.name, filters: fromParams(toParams({ ...NO_FILTERS, ...v.filters })) }));
  } catch {
    return [];
  }
}

export function saveViews(storage: Storage, views: SavedView[]): void {
  storage.setItem(KEY, JSON.stringify(views));
}
