// Small pieces that every view is made of.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/client.ts";
import { shortId } from "../model/format.ts";
import { dismiss, tell, tellError, toasts } from "./state.ts";

const PATHS: Record<string, string> = {
  runs: "M4 6h10M4 12h16M4 18h7",
  workflows: "M6 4v6m0 0a2 2 0 1 0 0 4 2 2 0 0 0 0-4Zm0 4v6M18 4v2a4 4 0 0 1-4 4H8m10 10v-2a4 4 0 0 0-4-4H8",
  schedules: "M12 7v5l3 2m6-2a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  sessions: "M4 5h16v11H9l-5 4V5Z",
  compare: "M9 4v16M15 4v16M4 9h5M15 9h5M4 15h5M15 15h5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-5v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  help: "M9.2 9a2.9 2.9 0 1 1 4.2 2.6c-.9.5-1.4 1-1.4 2.1v.3m0 3v.1M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  close: "m6 6 12 12M18 6 6 18",
  search: "m20 20-4.5-4.5M17 10.5a6.5 6.5 0 1 1-13 0 6.5 6.5 0 0 1 13 0Z",
  play: "M8 5v14l11-7L8 5Z",
  stop: "M6 6h12v12H6z",
  fork: "M7 4v7a3 3 0 0 0 3 3h7m0 0-3-3m3 3-3 3M7 11v9",
  retry: "M4 5v5h5M20 19v-5h-5M5.5 14a7 7 0 0 0 12 2.5l2.5-2.5M4 10l2.5-2.5a7 7 0 0 1 12 2.5",
  copy: "M9 9h10v11H9zM5 15V4h10",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  down: "m6 9 6 6 6-6",
  right: "m9 6 6 6-6 6",
  save: "M6 4h12v16l-6-4-6 4V4Z",
  out: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  download: "M12 4v11m0 0-4-4m4 4 4-4M5 20h14",
  signal: "M4 12h4l2-6 4 12 2-6h4",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-7 8c.6-3.4 3.4-5 7-5s6.400 1.600 7 5",
};

export function Icon({ name, size = 18 }: { name: string; size?: number }) {
  return (
    <svg class={`icon i-${name}`} width={size} height={size} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}

interface ButtonProps {
  onClick?: () => unknown;
  children?: ComponentChildren;
  icon?: string;
  kind?: "plain" | "primary" | "danger" | "quiet";
  title?: string;
  disabled?: boolean;
  type?: "button" | "submit";
  label?: string;
  pressed?: boolean;
  autoFocus?: boolean;
}

/** While what it does is under way it cannot be pressed again. */
export function Button({
  onClick,
  children,
  icon,
  kind = "plain",
  title,
  disabled,
  type = "button",
  label,
  pressed,
  autoFocus,
}: ButtonProps) {
  const [busy, setBusy] = useState(false);
  const press = async (e: MouseEvent) => {
    if (!onClick) return;
    e.stopPropagation();
    const result = onClick();
    if (!(result instanceof Promise)) return;
    setBusy(true);
    try {
      await result;
    } finally {
      setBusy(false);
    }
  };
  return (
    <button
      type={type}
      class={`button ${kind}${children ? "" : " bare"}${busy ? " busy" : ""}`}
      disabled={disabled || busy}
      title={title ?? label}
      aria-label={label ?? (children ? undefined : title)}
      aria-pressed={pressed}
      autofocus={autoFocus}
      onClick={press}
    >
      {icon && <Icon name={icon} size={16} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** Does something and tells how it went. Gives whether it went well. */
export async function attempt(what: string, work: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await work();
    if (done) tell(done);
    return true;
  } catch (error) {
    tellError(what, error);
    return false;
  }
}

const WORDS: Record<string, string> = {
  PENDING: "pending",
  RUNNING: "running",
  PAUSED: "paused",
  COMPLETED: "completed",
  CANCELLED: "cancelled",
  ERROR: "failed",
  RETRYING: "retrying",
  WAITING: "waiting",
};
export const statusWord = (status: string) => WORDS[status] ?? status.toLowerCase();

export function Status({ status, small = false }: { status: string; small?: boolean }) {
  return (
    <span class={`status s-${status.toLowerCase()}${small ? " small" : ""}`}>
      <i class="dot" />
      {statusWord(status)}
    </span>
  );
}

export function ErrorBox({
  error,
  retry,
  title,
}: {
  error: ApiError | null;
  retry?: () => void;
  title?: string;
}) {
  if (!error) return null;
  return (
    <div class="error-box" role="alert">
      <strong>{title ?? error.title}</strong>
      {error.detail && <p>{error.detail}</p>}
      {error.fields.length > 0 && (
        <ul>
          {error.fields.map((f) => (
            <li key={f.path + f.message}>
              {f.path && <code>{f.path}</code>} {f.message}
            </li>
          ))}
        </ul>
      )}
      {retry && (
        <Button icon="retry" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children && <p>{children}</p>}
    </div>
  );
}

export function Loading({ what = "Loading" }: { what?: string }) {
  return (
    <div class="loading" role="status">
      <i class="spinner" /> {what}…
    </div>
  );
}

export async function copyText(text: string) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied");
  } catch {
    // Without a secure context there is no clipboard: the old way.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    if (ok) tell("Copied");
    else tellError("It could not be copied", new Error("the browser does not allow it"));
  }
}

export function Id({ id }: { id: string }) {
  return (
    <button
      type="button"
      class="id"
      title={`${id} (click to copy)`}
      onClick={(e) => (e.stopPropagation(), void copyText(id))}
    >
      {shortId(id)}
    </button>
  );
}

export function download(name: string, text: string, type: string) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function Tabs({
  tabs,
  current,
  onPick,
}: {
  tabs: { id: string; label: string; note?: string | number }[];
  current: string;
  onPick(id: string): void;
}) {
  return (
    <div class="tabs" role="tablist">
      {tabs.map((t) => (
        <button
          type="button"
          role="tab"
          key={t.id}
          aria-selected={t.id === current}
          class={t.id === current ? "on" : ""}
          onClick={() => onPick(t.id)}
        >
          {t.label}
          {t.note !== undefined && t.note !== "" && <span class="note">{t.note}</span>}
        </button>
      ))}
    </div>
  );
}

export function Dialog({
  title,
  onClose,
  children,
  wide = false,
}: {
  title: string;
  onClose(): void;
  children: ComponentChildren;
  wide?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    ref.current?.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog
      ref={ref}
      class={wide ? "wide" : ""}
      aria-label={title}
      onCancel={(e) => (e.preventDefault(), onClose())}
      onClick={(e) => e.target === ref.current && onClose()}
    >
      <div class="dialog">
        <header>
          <h2>{title}</h2>
          <Button icon="close" kind="quiet" label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

export function Menu({
  items,
  label = "More",
}: {
  items: { label: string; icon?: string; danger?: boolean; run(): void; disabled?: boolean }[];
  label?: string;
}) {
  const [open, setOpen] = useState(false);
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const close = (e: Event) => {
      if (e instanceof KeyboardEvent ? e.key === "Escape" : !ref.current?.contains(e.target as Node))
        setOpen(false);
    };
    addEventListener("pointerdown", close);
    addEventListener("keydown", close);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("keydown", close);
    };
  }, [open]);
  return (
    <div class="menu" ref={ref}>
      <Button icon="more" label={label} onClick={() => setOpen(!open)} pressed={open} />
      {open && (
        <div class="menu-list" role="menu">
          {items.map((i) => (
            <button
              type="button"
              role="menuitem"
              key={i.label}
              class={i.danger ? "danger" : ""}
              disabled={i.disabled}
              onClick={() => (setOpen(false), i.run())}
            >
              {i.icon && <Icon name={i.icon} size={16} />}
              {i.label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

export function Toasts() {
  return (
    <div class="toasts" aria-live="polite">
      {toasts.value.map((t) => (
        <div class={`toast ${t.kind}`} key={t.id} role={t.kind === "bad" ? "alert" : "status"}>
          <div>
            <strong>{t.text}</strong>
            {t.detail && <pre>{t.detail}</pre>}
          </div>
          <Button icon="close" kind="quiet" label="Dismiss" onClick={() => dismiss(t.id)} />
        </div>
      ))}
    </div>
  );
}

export function Segments<T extends string>({
  options,
  value,
  onPick,
  label,
}: {
  options: [T, string][];
  value: T;
  onPick(v: T): void;
  label: string;
}) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {options.map(([v, text]) => (
        <button
          type="button"
          key={v}
          aria-pressed={v === value}
          class={v === value ? "on" : ""}
          onClick={() => onPick(v)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

interface VirtualProps {
  count: number;
  rowHeight: number;
  render(index: number): ComponentChildren;
  class?: string;
  /** Keeps the end in sight while it grows. */
  tail?: boolean;
  onScrolledUp?(): void;
  /** Brings this row into sight whenever `turn` changes. */
  reveal?: { index: number; turn: number };
  label?: string;
}

/** Rows above and below what is seen, and how many come at once. */
const ROWS_BEYOND = 8;
const ROWS_AT_ONCE = 4;

/** Only the rows that are seen are in the document. */
export function VirtualList({
  count,
  rowHeight,
  render,
  class: name = "",
  tail = false,
  onScrolledUp,
  reveal,
  label,
}: VirtualProps) {
  const ref = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const lastTop = useRef(0);
  // Rendered again only when other rows come into sight.
  const look = (el: HTMLDivElement) =>
    setView((v) => {
      const top = Math.floor(el.scrollTop / rowHeight / ROWS_AT_ONCE) * ROWS_AT_ONCE * rowHeight;
      return v.top === top && v.height === el.clientHeight ? v : { top, height: el.clientHeight };
    });
  useEffect(() => {
    const el = ref.current!;
    const observer = new ResizeObserver(() => look(el));
    observer.observe(el);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (tail && ref.current) ref.current.scrollTop = count * rowHeight;
  }, [tail, count, rowHeight]);
  useEffect(() => {
    const el = ref.current;
    if (!reveal || reveal.turn === 0 || !el) return;
    const top = reveal.index * rowHeight;
    if (top < el.scrollTop || top + rowHeight > el.scrollTop + el.clientHeight)
      el.scrollTop = Math.max(0, top - el.clientHeight / 3);
  }, [reveal?.turn]);
  const onScroll = () => {
    const el = ref.current;
    if (!el) return;
    if (
      tail &&
      el.scrollTop < lastTop.current - 4 &&
      el.scrollTop + el.clientHeight < el.scrollHeight - rowHeight
    )
      onScrolledUp?.();
    lastTop.current = el.scrollTop;
    look(el);
  };
  // The end is in sight before the browser tells that it has scrolled there.
  const top = tail ? Math.max(0, count * rowHeight - view.height) : view.top;
  const begin = Math.max(0, Math.floor(top / rowHeight) - ROWS_BEYOND);
  const end = Math.min(count, Math.ceil((top + view.height) / rowHeight) + ROWS_AT_ONCE + ROWS_BEYOND);
  // An element that scrolls out of sight is the next one that comes in.
  const pool = Math.ceil(view.height / rowHeight) + ROWS_AT_ONCE + 2 * ROWS_BEYOND + 1;
  const rows: ComponentChildren[] = [];
  for (let i = begin; i < end; ++i) {
    rows.push(
      <div key={i % pool} class="v-row" style={{ top: `${i * rowHeight}px`, height: `${rowHeight}px` }}>
        {render(i)}
      </div>,
    );
  }
  return (
    <div ref={ref} class={`virtual ${name}`} onScroll={onScroll} tabIndex={0} aria-label={label}>
      <div class="v-inner" style={{ height: `${count * rowHeight}px` }}>
        {rows}
      </div>
    </div>
  );
}
