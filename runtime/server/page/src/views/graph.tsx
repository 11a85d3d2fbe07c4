// The step graph: boxes and lines of model/layout.ts, with the run's live states on them. Only what
// is in sight is in the document, so a graph of a thousand steps scrolls like one of ten.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { count, duration, usageShort } from "../model/format.ts";
import { type Box, layout, type Line } from "../model/layout.ts";
import type { Outline } from "../model/outline.ts";
import { type RunFold } from "../model/run.ts";
import { hasEnded, type Step } from "../model/step.ts";
import { Button, Empty, Icon, statusWord } from "../ui/parts.tsx";
import { useShortcuts } from "../ui/state.ts";

interface Props {
  outline: Outline | null;
  run: RunFold | null;
  now: number;
  selected: string;
  onSelect(path: string, box: Box): void;
}

const MARGIN = 300;
/** Smaller than this nobody can read it: then it is scrolled. */
const LEAST_FIRST_ZOOM = 0.75;

export function GraphView({ outline, run, now, selected, onSelect }: Props) {
  const [open, setOpen] = useState<ReadonlyMap<string, boolean>>(new Map());
  const [iteration, setIteration] = useState<ReadonlyMap<string, string>>(new Map());
  const [zoom, setZoom] = useState(1);
  const [view, setView] = useState({ x: 0, y: 0, w: 1200, h: 800 });
  const scroller = useRef<HTMLDivElement>(null);
  const drawn = useMemo(
    () => layout(outline, run, { open, iteration }),
    [outline, run, run?.version, open, iteration],
  );

  const look = () => {
    const el = scroller.current;
    if (el) setView({ x: el.scrollLeft, y: el.scrollTop, w: el.clientWidth, h: el.clientHeight });
  };
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(scroller.current!);
    return () => observer.disconnect();
  }, []);
  // The beginning of a graph is in the middle.
  const centred = useRef(false);
  useLayoutEffect(() => {
    const el = scroller.current;
    if (!el || centred.current || drawn.boxes.length === 0) return;
    centred.current = true;
    // One that is a little too wide is made to fit.
    const first = Math.max(LEAST_FIRST_ZOOM, Math.min(1, el.clientWidth / drawn.w));
    setZoom(first);
    requestAnimationFrame(() => {
      el.scrollLeft = Math.max(0, (drawn.w * first - el.clientWidth) / 2);
      look();
    });
  }, [drawn.boxes.length > 0]);
  // Zooms around the middle of what is seen, or around the pointer.
  const zoomTo = (next: number, px?: number, py?: number) => {
    const el = scroller.current!;
    next = Math.min(2, Math.max(0.2, next));
    const cx = px ?? el.clientWidth / 2;
    const cy = py ?? el.clientHeight / 2;
    const x = (el.scrollLeft + cx) / zoom;
    const y = (el.scrollTop + cy) / zoom;
    setZoom(next);
    requestAnimationFrame(() => {
      el.scrollLeft = x * next - cx;
      el.scrollTop = y * next - cy;
      look();
    });
  };
  const fit = () => {
    const el = scroller.current!;
    zoomTo(Math.min(1, el.clientWidth / drawn.w, el.clientHeight / drawn.h));
  };
  useEffect(() => {
    const el = scroller.current!;
    const onWheel = (e: WheelEvent) => {
      if (!e.ctrlKey && !e.metaKey) return;
      e.preventDefault();
      const r = el.getBoundingClientRect();
      zoomTo(zoom * Math.exp(-e.deltaY / 300), e.clientX - r.left, e.clientY - r.top);
    };
    el.addEventListener("wheel", onWheel, { passive: false });
    return () => el.removeEventListener("wheel", onWheel);
  }, [zoom]);
  const toggle = (b: Box) => setOpen((m) => new Map(m).set(b.key, !b.open));
  const foldAll = (to: boolean) =>
    setOpen(new Map(drawn.boxes.filter((b) => b.foldable).map((b) => [b.key, to])));
  const walk = (by: number) => {
    const steps = drawn.boxes.filter((b) => b.path !== "" && (b.kind === "step" || b.kind === "group"));
    if (steps.length === 0) return;
    const i = steps.findIndex((b) => b.path === selected);
    const next = steps[i < 0 ? 0 : Math.max(0, Math.min(steps.length - 1, i + by))]!;
    onSelect(next.path, next);
    const el = scroller.current!;
    const x = (next.x + next.w / 2) * zoom;
    const y = next.y * zoom;
    if (y < el.scrollTop || y + 80 > el.scrollTop + el.clientHeight) el.scrollTop = y - el.clientHeight / 3;
    if (x < el.scrollLeft || x > el.scrollLeft + el.clientWidth) el.scrollLeft = x - el.clientWidth / 2;
  };
  useShortcuts([
    { keys: "+, =", what: "zoom in", run: () => zoomTo(zoom * 1.25) },
    { keys: "-", what: "zoom out", run: () => zoomTo(zoom / 1.25) },
    { keys: "0", what: "see the whole graph", run: fit },
    { keys: "j, ArrowDown", what: "next step", run: () => walk(1) },
    { keys: "k, ArrowUp", what: "previous step", run: () => walk(-1) },
    {
      keys: "Space",
      what: "open or close the step",
      run: () => {
        const b = drawn.boxes.find((x) => x.path === selected && x.foldable);
        if (b) toggle(b);
      },
    },
  ]);

  const seen = (x1: number, y1: number, x2: number, y2: number) =>
    x2 * zoom > view.x - MARGIN &&
    x1 * zoom < view.x + view.w + MARGIN &&
    y2 * zoom > view.y - MARGIN &&
    y1 * zoom < view.y + view.h + MARGIN;
  const boxes = drawn.boxes.filter((b) => seen(b.x, b.y, b.x + b.w, b.y + b.h));
  const lines = drawn.lines.filter((l) => {
    const xs = l.points.map((p) => p[0]);
    const ys = l.points.map((p) => p[1]);
    return seen(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
  });
  return (
    <div class="graph">
      <div class="graph-tools">
        <Button kind="quiet" icon="minus" label="Zoom out" onClick={() => zoomTo(zoom / 1.25)} />
        <button type="button" class="zoom" onClick={() => zoomTo(1)} title="Back to 100 %">
          {Math.round(zoom * 100)} %
        </button>
        <Button kind="quiet" icon="plus" label="Zoom in" onClick={() => zoomTo(zoom * 1.25)} />
        <Button kind="quiet" icon="fit" label="See the whole graph" onClick={fit} />
        <Button kind="quiet" onClick={() => foldAll(true)}>
          Open all
        </Button>
        <Button kind="quiet" onClick={() => foldAll(false)}>
          Fold all
        </Button>
      </div>
      <div class="graph-scroll" ref={scroller} onScroll={look} tabIndex={0} aria-label="Step graph">
        {drawn.boxes.length === 0 && (
          <Empty title="Nothing to draw yet">The steps appear as soon as the run has begun one.</Empty>
        )}
        <div class="graph-size" style={{ width: `${drawn.w * zoom}px`, height: `${drawn.h * zoom}px` }}>
          <div
            class="graph-inner"
            style={{ width: `${drawn.w}px`, height: `${drawn.h}px`, transform: `scale(${zoom})` }}
          >
            {boxes
              .filter((b) => b.kind === "group")
              .sort((a, b) => a.depth - b.depth || b.h - a.h)
              .map((b) => (
                <GroupBox
                  key={b.key}
                  box={b}
                  run={run}
                  now={now}
                  selected={b.path !== "" && b.path === selected}
                  onSelect={onSelect}
                  onToggle={toggle}
                  onIteration={(path, it) => setIteration((m) => new Map(m).set(path, it))}
                />
              ))}
            <svg class="graph-lines" width={drawn.w} height={drawn.h} aria-hidden="true">
              {lines.map((l) => (
                <path key={l.key} d={pathOf(l)} class={l.faded ? "faded" : ""} />
              ))}
            </svg>
            {boxes
              .filter((b) => b.kind !== "group")
              .map((b) => (
                <NodeBox
                  key={b.key}
                  box={b}
                  run={run}
                  now={now}
                  selected={b.path !== "" && b.path === selected}
                  onSelect={onSelect}
                  onToggle={toggle}
                />
              ))}
          </div>
        </div>
      </div>
    </div>
  );
}

// Straight pieces with rounded corners.
function pathOf(l: Line): string {
  const p = l.points;
  let d = `M${p[0]![0]} ${p[0]![1]}`;
  for (let i = 1; i < p.length - 1; ++i) {
    const [x0, y0] = p[i - 1]!;
    const [x, y] = p[i]!;
    const [x1, y1] = p[i + 1]!;
    const r = Math.min(8, Math.hypot(x - x0, y - y0) / 2, Math.hypot(x1 - x, y1 - y) / 2);
    d += ` L${x - Math.sign(x - x0) * r} ${y - Math.sign(y - y0) * r} Q${x} ${y} ${x + Math.sign(x1 - x) * r} ${y + Math.sign(y1 - y) * r}`;
  }
  const end = p.at(-1)!;
  return `${d} L${end[0]} ${end[1]}`;
}

const place = (b: Box) => ({ left: `${b.x}px`, top: `${b.y}px`, width: `${b.w}px`, height: `${b.h}px` });

/** How long it took. Until its exact times are there, nothing below a second. */
export function lengthOf(step: Step, now: number): string {
  const ms = (step.to ?? now) - step.from;
  return !step.exact && ms < 1000 ? "" : duration(ms);
}

/** What is seen of a step's state: its own, or that of what goes on in it. */
export function shownStatus(step: Step | undefined): string {
  if (!step) return "none";
  return step.status.toLowerCase();
}

interface NodeProps {
  box: Box;
  run: RunFold | null;
  now: number;
  selected: boolean;
  onSelect(path: string, box: Box): void;
  onToggle(box: Box): void;
}

function NodeBox({ box: b, run, now, selected, onSelect, onToggle }: NodeProps) {
  const step = run && b.path ? run.step(b.path) : undefined;
  const faded = b.faded && !step ? " faded" : "";
  if (b.kind === "label")
    return (
      <div class={`g-label${b.faded ? " faded" : ""}`} style={place(b)} title={b.title}>
        <span>{b.title}</span>
      </div>
    );
  if (b.kind === "head")
    return (
      <div class={`g-head s-${shownStatus(step)}${faded}`} style={place(b)} title={b.title}>
        <span>{b.title}</span>
      </div>
    );
  if (b.kind === "pure" || b.kind === "end") {
    return (
      <div class={`g-pure ${b.kind}${faded}`} style={place(b)} title={`${b.title} ${b.sub}`.trim()}>
        <span>
          <b>{b.title}</b> {b.sub}
        </span>
      </div>
    );
  }
  const doc = b.node?.doc ?? "";
  return (
    <div class={`g-step s-${shownStatus(step)}${selected ? " selected" : ""}${faded}`} style={place(b)}>
      <button
        type="button"
        class="g-main"
        onClick={() => onSelect(b.path, b)}
        title={[b.path, doc].filter(Boolean).join("\n")}
        aria-label={`Step ${b.path}${step ? `, ${statusWord(step.status)}` : ""}`}
      >
        <i class="dot" />
        <span class="g-text">
          <span class="g-title">{step?.label || b.title}</span>
          <span class="g-sub">{b.sub}</span>
        </span>
        {step && (
          <span class="g-side">
            <span>{lengthOf(step, now)}</span>
            <span class="g-note">{noteOf(step)}</span>
          </span>
        )}
      </button>
      {b.foldable && (
        <button type="button" class="g-fold" aria-label={`Open ${b.title}`} onClick={() => onToggle(b)}>
          <Icon name="plus" size={14} />
        </button>
      )}
    </div>
  );
}

function noteOf(step: Step): string {
  if (step.status === "PAUSED") return "asks";
  if (step.status === "RETRYING") return `attempt ${(step.attempts.at(-1)?.number ?? 1) + 1} soon`;
  if (step.status === "WAITING") return step.waitsFor === "run" ? "child run" : (step.waitsFor ?? "");
  if (step.cached) return "cached";
  const attempts = step.attempts.at(-1)?.number ?? 1;
  if (attempts > 1) return `${attempts} attempts`;
  if (step.active > 0) return `${step.active} inside`;
  return usageShort(step.usage);
}

function GroupBox({
  box: b,
  run,
  now,
  selected,
  onSelect,
  onToggle,
  onIteration,
}: NodeProps & { onIteration(path: string, it: string): void }) {
  const step = run && b.path ? run.step(b.path) : undefined;
  const at = b.iterations.indexOf(b.iteration);
  const pick = (i: number) => {
    const next = b.iterations[i];
    if (next) onIteration(b.path, next);
  };
  return (
    <div
      class={`g-group s-${shownStatus(step)}${selected ? " selected" : ""}${b.open ? "" : " folded"}${b.faded && !step ? " faded" : ""}`}
      style={place(b)}
    >
      <div class="g-group-head">
        {b.foldable && (
          <button
            type="button"
            class="g-fold"
            aria-label={b.open ? `Fold ${b.title}` : `Open ${b.title}`}
            aria-expanded={b.open}
            onClick={() => onToggle(b)}
          >
            <Icon name={b.open ? "down" : "right"} size={14} />
          </button>
        )}
        <button
          type="button"
          class="g-main"
          onClick={() => b.path && onSelect(b.path, b)}
          title={[b.path || b.title, b.sub].filter(Boolean).join("\n")}
        >
          {b.path && <i class="dot" />}
          <span class="g-text">
            <span class="g-title">{step?.label || b.title}</span>
            <span class="g-sub">
              {step && step.active > 0 ? `${step.active} under way · ` : ""}
              {b.sub}
            </span>
          </span>
          {step && (
            <span class="g-side">
              <span>{lengthOf(step, now)}</span>
              <span class="g-note">{usageShort(step.usage)}</span>
            </span>
          )}
        </button>
        {b.iterations.length > 0 && (
          <span class="g-iter">
            <button
              type="button"
              aria-label="Previous iteration"
              disabled={at <= 0}
              onClick={() => pick(at - 1)}
            >
              ‹
            </button>
            <span title={b.iteration}>
              {at + 1} / {step?.kind === "for" && step.items ? step.items : b.iterations.length}
            </span>
            <button
              type="button"
              aria-label="Next iteration"
              disabled={at < 0 || at + 1 >= b.iterations.length}
              onClick={() => pick(at + 1)}
            >
              ›
            </button>
          </span>
        )}
      </div>
      {b.iterations.length > 1 && <Strip run={run!} box={b} onPick={(it) => onIteration(b.path, it)} />}
    </div>
  );
}

/** At most this many cells: one then stands for several iterations, and shows the worst of them. */
const CELLS = 48;
const WORST = ["error", "paused", "retrying", "waiting", "running", "cancelled", "completed"];

/** All iterations of a loop in one line. */
function Strip({ run, box, onPick }: { run: RunFold; box: Box; onPick(iteration: string): void }) {
  const all = box.iterations;
  const per = Math.ceil(all.length / CELLS);
  const cells = [];
  for (let i = 0; i < all.length; i += per) {
    const part = all.slice(i, i + per);
    const states = part.map((id) => stateOfIteration(run, id));
    const worst = WORST.find((w) => states.includes(w)) ?? "running";
    const here = part.includes(box.iteration);
    cells.push(
      <button
        type="button"
        key={i}
        class={`cell s-${worst}${here ? " here" : ""}`}
        title={
          per === 1 ? `iteration ${i + 1}: ${worst}` : `iterations ${i + 1}–${i + part.length}: ${worst}`
        }
        aria-label={`Iteration ${i + 1}`}
        onClick={() => onPick(part[0]!)}
      />,
    );
  }
  return (
    <div class="strip" title={count(all.length, "iteration")}>
      {cells}
    </div>
  );
}

function stateOfIteration(run: RunFold, id: string): string {
  const step = run.step(id);
  if (!step) return "completed";
  if (hasEnded(step.status)) return step.failed > 0 ? "error" : step.status.toLowerCase();
  for (const c of step.children) {
    const child = run.step(c);
    if (child && !hasEnded(child.status) && child.status !== "RUNNING") return child.status.toLowerCase();
  }
  return "running";
}
