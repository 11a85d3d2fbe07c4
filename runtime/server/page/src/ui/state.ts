// What all views share: the address, the theme, who is signed in, messages, and how things are fetched.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, ApiError, whenUnauthorized } from "../api/client.ts";
import type { SessionInfo } from "../api/types.ts";
import { parseRoute, type Route } from "../router.ts";

export const route = signal<Route>(parseRoute(location.hash));
addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
});
export const go = (to: string) => {
  location.hash = to;
};
/** Changes the address without a further step back. */
export const replace = (to: string) => {
  history.replaceState(null, "", to);
  route.value = parseRoute(location.hash);
};

// ---- theme

export type Theme = "system" | "light" | "dark";
const stored = (key: string): string | null => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage may be barred: then nothing is kept
  }
};
export const keep = (key: string, value: string) => {
  try {
    localStorage.setItem(key, value);
  } catch {
    // as above
  }
};
export const recall = stored;
const first = stored("kflow.theme");
export const theme = signal<Theme>(first === "light" || first === "dark" ? first : "system");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
export function applyTheme() {
  const dark = theme.value === "dark" || (theme.value === "system" && prefersDark.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
prefersDark.addEventListener("change", applyTheme);
export function nextTheme() {
  theme.value =
    theme.value === "system"
      ? prefersDark.matches
        ? "light"
        : "dark"
      : theme.value === "light"
        ? "dark"
        : "light";
  keep("kflow.theme", theme.value);
  applyTheme();
}

// ---- who is signed in

export const session = signal<SessionInfo | null>(null);
export const signInWanted = signal(false);
whenUnauthorized(() => {
  signInWanted.value = true;
});
export async function loadSession() {
  try {
    session.value = await api.info();
    signInWanted.value = session.value.requires_auth && !session.value.signed_in;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) signInWanted.value = true;
  }
}
export const may = (scope: string) => !session.value?.scopes || session.value.scopes.includes(scope);

// ---- messages

export interface Toast {
  id: number;
  kind: "good" | "bad";
  text: string;
  detail: string;
}
export const toasts = signal<Toast[]>([]);
let toastId = 0;
export function tell(text: string) {
  push({ id: ++toastId, kind: "good", text, detail: "" }, 5000);
}
export function tellError(what: string, error: unknown) {
  const e = error as ApiError;
  const fields = e instanceof ApiError ? e.fields.map((f) => `${f.path}: ${f.message}`).join("\n") : "";
  const title = e instanceof ApiError && e.detail ? "" : (e.message ?? String(error));
  const detail = [title, e instanceof ApiError ? e.detail : "", fields].filter(Boolean).join("\n");
  push({ id: ++toastId, kind: "bad", text: what, detail }, 12_000);
}
function push(toast: Toast, ms: number) {
  toasts.value = [...toasts.value.slice(-3), toast];
  setTimeout(() => dismiss(toast.id), ms);
}
export function dismiss(id: number) {
  toasts.value = toasts.value.filter((t) => t.id !== id);
}

// ---- fetching

export interface Loaded<T> {
  data: T | undefined;
  error: ApiError | null;
  loading: boolean;
  reload(): void;
}

/** Fetches once for each `key`, and again every `everyMs` while the page is seen; 0: once. */
export function useLoad<T>(load: (signal: AbortSignal) => Promise<T>, key: string, everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{
    key: string;
    data: T | undefined;
    error: ApiError | null;
    loading: boolean;
  }>({
    key,
    data: undefined,
    error: null,
    loading: true,
  });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const abort = new AbortController();
    let asked = false;
    const ask = async () => {
      // A page that nobody sees asks once.
      if (document.hidden && asked) return schedule();
      asked = true;
      try {
        const data = await latest.current(abort.signal);
        if (!over) setState({ key, data, error: null, loading: false });
      } catch (error) {
        if (over || (error as Error).name === "AbortError") return;
        const problem = error instanceof ApiError ? error : new ApiError(0, "the page failed", String(error));
        // What was there stays, with the error beside it.
        setState((s) => ({ key, data: s.key === key ? s.data : undefined, error: problem, loading: false }));
      }
      schedule();
    };
    const schedule = () => {
      if (!over && everyMs > 0) timer = setTimeout(ask, everyMs);
    };
    void ask();
    const seen = () => {
      if (document.hidden || everyMs === 0) return;
      clearTimeout(timer);
      void ask();
    };
    document.addEventListener("visibilitychange", seen);
    return () => {
      over = true;
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, everyMs, turn]);
  const current = state.key === key;
  return {
    data: current ? state.data : undefined,
    error: current ? state.error : null,
    loading: !current || state.loading,
    reload: () => setTurn((n) => n + 1),
  };
}

/** The time, again every `ms`; 0: it stands still. */
export function useNow(ms: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (ms === 0) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms]);
  return now;
}

// ---- keys

export interface Shortcut {
  keys: string;
  what: string;
  run(): void;
}
const scopes: Shortcut[][] = [];
/** All shortcuts that hold now, the innermost view's first. */
export const activeShortcuts = () => [...scopes].reverse();
export const helpOpen = signal(false);

export function useShortcuts(shortcuts: Shortcut[]) {
  const own = useRef<Shortcut[]>([]);
  own.current.splice(0, own.current.length, ...shortcuts);
  useEffect(() => {
    scopes.push(own.current);
    return () => {
      scopes.splice(scopes.indexOf(own.current), 1);
    };
  }, []);
}

let pending = "";
let pendingTimer: ReturnType<typeof setTimeout> | undefined;
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
  const target = e.target as HTMLElement;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable;
  if (typing) {
    if (e.key === "Escape") target.blur();
    return;
  }
  // What is modal has its own keys.
  if (document.querySelector("dialog[open]")) return;
  const key = e.key === " " ? "Space" : e.key;
  // On a button Enter and space press it.
  if ((key === "Enter" || key === "Space") && /^(BUTTON|A|SUMMARY)$/.test(target.tagName)) return;
  const typed = pending ? `${pending} ${key}` : key;
  for (const scope of activeShortcuts()) {
    const hit = scope.find((s) => s.keys.split(", ").includes(typed));
    if (hit) {
      pending = "";
      e.preventDefault();
      hit.run();
      return;
    }
  }
  clearTimeout(pendingTimer);
  pending = "";
  if (
    activeShortcuts().some((scope) =>
      scope.some((s) => s.keys.split(", ").some((k) => k.startsWith(`${typed} `))),
    )
  ) {
    pending = typed;
    pendingTimer = setTimeout(() => (pending = ""), 1200);
  }
});
