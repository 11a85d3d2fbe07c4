// How times, lengths of time, numbers and values are written.
import type { Json, Moment, Usage } from "../api/types.ts";

/** Milliseconds since 1970, or null. */
export function millis(moment: Moment): number | null {
  if (moment === null || moment === undefined || moment === "") return null;
  if (typeof moment === "string") {
    if (/^\d+(\.\d+)?$/.test(moment)) return millis(Number(moment));
    const parsed = Date.parse(moment);
    return Number.isNaN(parsed) ? null : parsed;
  }
  if (!Number.isFinite(moment) || moment <= 0) return null;
  return moment > 1e11 ? moment : moment * 1000; // seconds until the year 5138
}

export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 === 0 ? `${m} min` : `${m} min ${s % 60} s`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 === 0 ? `${h} h` : `${h} h ${m % 60} min`;
  const d = Math.floor(h / 24);
  return h % 24 === 0 ? `${d} d` : `${d} d ${h % 24} h`;
}

const two = (n: number) => String(n).padStart(2, "0");

export function clock(ms: number, withMs = false): string {
  const d = new Date(ms);
  const text = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return withMs ? `${text}.${String(d.getMilliseconds()).padStart(3, "0")}` : text;
}

/** A moment for people: the time today, else with its day. */
export function when(moment: Moment, now = Date.now()): string {
  const ms = millis(moment);
  if (ms === null) return "–";
  const d = new Date(ms);
  const today = new Date(now);
  const time = `${two(d.getHours())}:${two(d.getMinutes())}`;
  if (d.toDateString() === today.toDateString()) return `${time}:${two(d.getSeconds())}`;
  const day = `${d.toLocaleDateString(undefined, { month: "short", day: "numeric" })}`;
  return d.getFullYear() === today.getFullYear() ? `${day}, ${time}` : `${day} ${d.getFullYear()}`;
}

export function ago(moment: Moment, now = Date.now()): string {
  const ms = millis(moment);
  if (ms === null) return "–";
  const delta = now - ms;
  if (delta < -1500) return `in ${duration(-delta)}`;
  if (delta < 1500) return "now";
  const s = Math.floor(delta / 1000);
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

/** The random end of a run id, as `kflow ps` shows it. */
export const shortId = (id: string) => (id.length > 12 ? id.slice(-8) : id);

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

export function tokens(n: number): string {
  if (n < 1000) return String(n);
  if (n < 1_000_000) return `${(n / 1000).toFixed(n < 10_000 ? 1 : 0)}k`;
  return `${(n / 1_000_000).toFixed(1)}M`;
}

export function usageText(usage: Usage | null | undefined): string {
  if (!usage) return "";
  const parts: string[] = [];
  if (usage.input_tokens || usage.output_tokens)
    parts.push(`${tokens(usage.input_tokens ?? 0)} in, ${tokens(usage.output_tokens ?? 0)} out`);
  if (usage.usd) parts.push(`$${usage.usd.toFixed(usage.usd < 0.1 ? 4 : 2)}`);
  return parts.join(" · ");
}

/** As short as it can be said. */
export function usageShort(usage: Usage | null | undefined): string {
  const all = (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0);
  return all === 0 ? "" : `${tokens(all)} tok`;
}

/** The message of an error as the server has it: text, or the language's record. */
export function errorText(error: unknown): string {
  if (error === null || error === undefined || error === "") return "";
  if (typeof error === "string") return error;
  const record = error as { message?: unknown; step?: unknown };
  if (typeof record.message === "string") return record.message;
  return JSON.stringify(error);
}

/** A value on one line, cut. */
export function brief(value: unknown, most = 120): string {
  if (value === undefined) return "";
  const text = typeof value === "string" ? value.replace(/\s+/g, " ") : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

export const pretty = (value: Json | undefined) => JSON.stringify(value ?? null, null, 2);
