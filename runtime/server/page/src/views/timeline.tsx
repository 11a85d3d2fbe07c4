// The waterfall: when each step ran, waited and was tried again.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { clock, duration } from "../model/format.ts";
import type { RunFold } from "../model/run.ts";
import { barsOf, pan, rowsOf, tickText, ticks, type Window, wholeOf, zoom } from "../model/timeline.ts";
import { Button, Empty, Icon, statusWord, VirtualList } from "../ui/parts.tsx";
import { useShortcuts } from "../ui/state.ts";
import { lengthOf, shownStatus } from "./graph.tsx";

interface Props {
  run: RunFold;
  now: number;
  selected: string;
  onSelect(path: string): void;
}

export function TimelineView({ run, now, selected, onSelect }: Props) {
  const [open, setOpen] = useState<ReadonlyMap<string, boolean>>(new Map());
  const [fixed, setFixed] = useState<Window | null>(null);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const [turn, setTurn] = useState(0);
  const axis = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => rowsOf(run, open), [run, run.version, open]);
  const whole = wholeOf(run, now);
  const view = fixed ?? whole;
  const at = rows.findIndex((r) => r.step.id === selected);
  const width = axis.current?.clientWidth ?? 600;

  const zoomBy = (factor: number, where = 0.5) => {
    const next = zoom(view, whole, factor, where);
    setFixed(next.to - next.from >= (whole.to - whole.from) * 0.999 ? null : next);
  };
  const fraction = (clientX: number) => {
    const r = axis.current!.getBoundingClientRect();
    return Math.min(1, Math.max(0, (clientX - r.left) / r.width));
  };
  const body = useRef<HTMLDivElement>(null);
  const state = useRef({ view, whole });
  state.current = { view, whole };
  useEffect(() => {
    const el = body.current!;
    const onWheel = (e: WheelEvent) => {
      if (e.ctrlKey || e.metaKey) {
        e.preventDefault();
        const next = zoom(
          state.current.view,
          state.current.whole,
          Math.exp(e.deltaY / 300),
          fraction(e.clientX),
        );
        setFixed(next);
      } else if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
        e.preventDefault();
        setFixed(pan(state.current.view, state.current.whole, e.deltaX / 800));
      }
    };
    el.addEventListener("wheel", onWheel, { passive: false });
    return () => el.removeEventListener("wheel", onWheel);
  }, []);
  const endDrag = () => {
    if (!drag) return;
    const from = Math.min(drag.from, drag.to);
    const to = Math.max(drag.from, drag.to);
    if (to - from > 0.01)
      setFixed({
        from: view.from + (view.to - view.from) * from,
        to: view.from + (view.to - view.from) * to,
      });
    setDrag(null);
  };
  const walk = (by: number) => {
    const next = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))];
    if (next) onSelect(next.step.id);
    setTurn((t) => t + 1);
  };
  const toggle = (id: string, to: boolean) => setOpen((m) => new Map(m).set(id, to));
  useShortcuts([
    { keys: "+, =", what: "zoom in", run: () => zoomBy(0.6) },
    { keys: "-", what: "zoom out", run: () => zoomBy(1 / 0.6) },
    { keys: "0", what: "see the whole run", run: () => setFixed(null) },
    { keys: "ArrowLeft", what: "earlier", run: () => setFixed(pan(view, whole, -0.2)) },
    { keys: "ArrowRight", what: "later", run: () => setFixed(pan(view, whole, 0.2)) },
    { keys: "j, ArrowDown", what: "next step", run: () => walk(1) },
    { keys: "k, ArrowUp", what: "previous step", run: () => walk(-1) },
    {
      keys: "Space",
      what: "open or close the step",
      run: () => rows[at]?.foldable && toggle(selected, !rows[at]!.open),
    },
  ]);
  const origin = run.from ?? whole.from;
  const marks = ticks(view, origin, Math.max(2, Math.floor(width / 90)));
  const line = (at: number, colour: string) =>
    `linear-gradient(${colour}, ${colour}) ${at * 100}% 0 / 1px 100% no-repeat`;
  const atNow = run.to === null ? (now - view.from) / (view.to - view.from) : -1;
  // One background for all rows: a line of its own in each would be most of the document.
  const lines = marks.map((m) => line(m.at, "color-mix(in srgb, var(--line) 60%, transparent)"));
  if (atNow >= 0 && atNow <= 1) lines.push(line(atNow, "var(--accent)"));

  return (
    <div class="timeline" ref={body} style={{ "--grid": lines.join(", ") || "none" }}>
      <div class="tl-tools">
        <span class="legend">
          <i class="bar running" /> running
        </span>
        <span class="legend">
          <i class="bar waiting" /> waiting
        </span>
        <span class="legend">
          <i class="bar retrying" /> before a retry
        </span>
        <span class="grow" />
        <span class="muted small">
          {fixed ? `${clock(view.from, true)} – ${clock(view.to, true)}` : duration(whole.to - whole.from)}
        </span>
        <Button
          kind="quiet"
          icon="minus"
          label="Zoom out"
          onClick={() => zoomBy(1 / 0.6)}
          disabled={!fixed}
        />
        <Button kind="quiet" icon="plus" label="Zoom in" onClick={() => zoomBy(0.6)} />
        <Button
          kind="quiet"
          icon="fit"
          label="See the whole run"
          onClick={() => setFixed(null)}
          disabled={!fixed}
        />
      </div>
      <div class="tl-axis-row">
        <div class="tl-name muted small">
          {rows.length.toLocaleString("en")} rows
          {run.dropped > 0 ? `, ${run.dropped.toLocaleString("en")} older steps not held` : ""}
        </div>
        <div
          class="tl-axis"
          ref={axis}
          title="Drag to zoom into a part"
          onPointerDown={(e) => {
            (e.currentTarget as HTMLElement).setPointerCapture(e.pointerId);
            setDrag({ from: fraction(e.clientX), to: fraction(e.clientX) });
          }}
          onPointerMove={(e) => drag && setDrag({ from: drag.from, to: fraction(e.clientX) })}
          onPointerUp={endDrag}
          onPointerCancel={() => setDrag(null)}
          onDblClick={() => setFixed(null)}
        >
          {marks.map((m) => (
            <span class="tick" key={m.ms} style={{ left: `${m.at * 100}%` }}>
              {tickText(m.ms)}
            </span>
          ))}
          {drag && (
            <i
              class="tl-drag"
              style={{
                left: `${Math.min(drag.from, drag.to) * 100}%`,
                width: `${Math.abs(drag.to - drag.from) * 100}%`,
              }}
            />
          )}
        </div>
      </div>
      {rows.length === 0 ? (
        <Empty title="No step yet" />
      ) : (
        <VirtualList
          class="tl-rows"
          label="Timeline"
          count={rows.length}
          rowHeight={30}
          reveal={{ index: at, turn }}
          render={(i) => {
            const { step, depth, foldable, open: isOpen } = rows[i]!;
            const name = step.label || step.id.slice(step.parent ? step.parent.length : 0).replace(/^\./, "");
            return (
              <div class={`tl-row s-${shownStatus(step)}${step.id === selected ? " selected" : ""}`}>
                <div class="tl-name" style={{ paddingLeft: `${8 + Math.min(depth, 8) * 14}px` }}>
                  {foldable ? (
                    <button
                      type="button"
                      class="tl-fold"
                      aria-label={isOpen ? `Fold ${name}` : `Open ${name}`}
                      aria-expanded={isOpen}
                      onClick={() => toggle(step.id, !isOpen)}
                    >
                      <Icon name={isOpen ? "down" : "right"} size={12} />
                    </button>
                  ) : (
                    <i class="tl-nofold" />
                  )}
                  <button
                    type="button"
                    class="tl-label cut"
                    title={`${step.id}: ${statusWord(step.status)}`}
                    onClick={() => onSelect(step.id)}
                  >
                    <i class="dot" />
                    <span class="cut">{name}</span>
                    {step.callee && step.callee !== name && <span class="muted cut">{step.callee}</span>}
                  </button>
                </div>
                <button
                  type="button"
                  class="tl-bars"
                  tabIndex={-1}
                  aria-label={`${step.id}, ${duration((step.to ?? now) - step.from)}`}
                  onClick={() => onSelect(step.id)}
                >
                  {barsOf(step, view, now).map((b, j) => (
                    <i
                      key={j}
                      class={`bar ${b.kind}${b.open ? " open" : ""}`}
                      style={{ left: `${b.left * 100}%`, width: `max(3px, ${b.width * 100}%)` }}
                      title={b.kind}
                    />
                  ))}
                  <TimeLabel step={step} view={view} now={now} />
                </button>
              </div>
            );
          }}
        />
      )}
    </div>
  );
}

// How long it took, behind its last bar, or before it where there is no room.
function TimeLabel({
  step,
  view,
  now,
}: {
  step: RunFold["steps"] extends Map<string, infer S> ? S : never;
  view: Window;
  now: number;
}) {
  const size = view.to - view.from;
  const end = ((step.to ?? now) - view.from) / size;
  const begin = (step.from - view.from) / size;
  if (end < 0 || begin > 1) return null;
  const text = lengthOf(step, now);
  if (end < 0.86)
    return (
      <span class="tl-time" style={{ left: `calc(${Math.max(0, end) * 100}% + 6px)` }}>
        {text}
      </span>
    );
  if (begin > 0.14)
    return (
      <span class="tl-time" style={{ right: `calc(${(1 - begin) * 100}% + 6px)` }}>
        {text}
      </span>
    );
  return (
    <span class="tl-time inside" style={{ left: `calc(${Math.max(0, begin) * 100}% + 6px)` }}>
      {text}
    </span>
  );
}
