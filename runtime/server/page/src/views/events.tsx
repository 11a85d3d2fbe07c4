// A run's events, as they are recorded: the end followed live, or from any index.
import { useMemo, useState } from "preact/hooks";
import type { StreamState } from "../api/stream.ts";
import { follow } from "../api/stream.ts";
import { api, type ApiError } from "../api/client.ts";
import type { Json } from "../api/types.ts";
import { clock } from "../model/format.ts";
import type { RunFold } from "../model/run.ts";
import type { EventRow } from "../model/step.ts";
import { Button, Empty, ErrorBox, Loading, VirtualList } from "../ui/parts.tsx";
import { useShortcuts } from "../ui/state.ts";
import { JsonText } from "../ui/value.tsx";

interface Props {
  run: RunFold;
  workflow: string;
  runId: string;
  stream: StreamState;
  streamError: ApiError | null;
  onReadFrom(index: number): void;
  onStep(path: string): void;
}

const STATES: Record<StreamState, string> = {
  connecting: "connecting…",
  live: "live",
  lost: "connection lost, trying again…",
  ended: "the run has ended",
  failed: "cannot be read",
};

export function EventsView({ run, workflow, runId, stream, streamError, onReadFrom, onStep }: Props) {
  const [text, setText] = useState("");
  const [deltas, setDeltas] = useState(true);
  const [tail, setTail] = useState(true);
  const [open, setOpen] = useState<number | null>(null);
  const [from, setFrom] = useState("");
  const [reveal, setReveal] = useState({ index: 0, turn: 0 });
  const filtered = text.trim() !== "" || !deltas;
  const rows = useMemo(() => {
    if (!filtered) return run.events;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return run.events.filter((e) => {
      if (!deltas && /(RunContent|ReasoningContentDelta)$/.test(e.name)) return false;
      if (words.length === 0) return true;
      const all = `${e.name} ${e.step} ${e.brief}`.toLowerCase();
      return words.every((w) => all.includes(w));
    });
  }, [run, run.version, text, deltas]);
  const show = (index: number) => {
    setTail(false);
    setOpen(index);
    const i = rows.findIndex((r) => r.index >= index);
    setReveal((r) => ({ index: Math.max(0, i), turn: r.turn + 1 }));
  };
  const jump = (e: Event) => {
    e.preventDefault();
    const index = Number(from);
    if (!Number.isInteger(index) || index < 0) return;
    if (index < run.firstEvent) onReadFrom(index);
    else show(Math.min(index, run.nextEvent - 1));
  };
  const step = (by: number) => {
    const i = rows.findIndex((r) => r.index === open);
    const next = rows[i < 0 ? rows.length - 1 : Math.max(0, Math.min(rows.length - 1, i + by))];
    if (next) show(next.index);
  };
  useShortcuts([
    { keys: "j, ArrowDown", what: "next event", run: () => step(1) },
    { keys: "k, ArrowUp", what: "previous event", run: () => step(-1) },
    { keys: "e, End", what: "follow the end", run: () => setTail(true) },
  ]);
  const row = open === null ? undefined : run.events[open - run.firstEvent];
  return (
    <div class="events">
      <div class="ev-tools">
        <input
          type="search"
          placeholder="Filter: name, step, text…"
          aria-label="Filter events"
          value={text}
          onInput={(e) => setText(e.currentTarget.value)}
        />
        <label class="check">
          <input type="checkbox" checked={deltas} onChange={(e) => setDeltas(e.currentTarget.checked)} />{" "}
          model text
        </label>
        <form class="ev-from" onSubmit={jump}>
          <input
            inputMode="numeric"
            placeholder="from event…"
            aria-label="From event"
            value={from}
            onInput={(e) => setFrom(e.currentTarget.value)}
          />
          <Button type="submit" kind="quiet">
            Go
          </Button>
        </form>
        <span class="grow" />
        <span class={`muted small stream-${stream}`}>
          {stream === "live" && <i class="dot pulse" />} {STATES[stream]} ·{" "}
          {filtered ? `${rows.length.toLocaleString("en")} of ` : ""}
          {run.events.length.toLocaleString("en")} events
        </span>
        <Button kind={tail ? "primary" : "plain"} icon="down" pressed={tail} onClick={() => setTail(!tail)}>
          Follow
        </Button>
      </div>
      <ErrorBox error={streamError} title="The events cannot be read" />
      {run.firstEvent > 0 && (
        <p class="note-line">
          The events before {run.firstEvent.toLocaleString("en")} are not held here.{" "}
          <Button kind="quiet" onClick={() => onReadFrom(0)}>
            Read from the first
          </Button>
        </p>
      )}
      {rows.length === 0 ? (
        stream === "connecting" ? (
          <Loading what="Reading the events" />
        ) : (
          <Empty title={filtered ? "No event is like that" : "No event yet"} />
        )
      ) : (
        <div class={`ev-split${row ? " opened" : ""}`}>
          <VirtualList
            class="ev-list"
            label="Events"
            count={rows.length}
            rowHeight={28}
            tail={tail}
            onScrolledUp={() => setTail(false)}
            reveal={reveal}
            render={(i) => (
              <Line
                row={rows[i]!}
                current={rows[i]!.index === open}
                onOpen={() => (setTail(false), setOpen(rows[i]!.index))}
              />
            )}
          />
          {row && (
            <Detail
              key={row.index}
              row={row}
              run={run}
              path={api.eventsPath(workflow, runId)}
              onClose={() => setOpen(null)}
              onStep={onStep}
            />
          )}
        </div>
      )}
    </div>
  );
}

function tone(name: string): string {
  if (/(Error|Cancelled)$/.test(name)) return "bad";
  if (/(Retry|Paused|Review|Reset)$/.test(name)) return "warn";
  if (/(Completed|Fired)$/.test(name)) return "good";
  if (/(Content|Delta)$/.test(name)) return "quiet";
  return "";
}

function Line({ row, current, onOpen }: { row: EventRow; current: boolean; onOpen(): void }) {
  if (row.name === "")
    return (
      <div class="ev-row gone">
        <span class="num">{row.index}</span>
        <span class="muted">removed by retention</span>
      </div>
    );
  return (
    <button type="button" class={`ev-row${current ? " current" : ""}`} onClick={onOpen}>
      <span class="num muted">{row.index}</span>
      <span class="muted mono">{clock(row.time)}</span>
      <span class={`ev-name ${tone(row.name)}`}>{row.name}</span>
      <code class="cut">{row.step}</code>
      <span class="cut muted">{row.brief}</span>
    </button>
  );
}

function Detail({
  row,
  run,
  path,
  onClose,
  onStep,
}: {
  row: EventRow;
  run: RunFold;
  path: string;
  onClose(): void;
  onStep(path: string): void;
}) {
  const held = run.frameAt(row.index);
  const [read, setRead] = useState<Json | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  // It was dropped to save memory, and is read again.
  const again = () =>
    new Promise<void>((done) => {
      const stop = follow(
        path,
        row.index,
        {
          frames(batch) {
            const hit = batch.find((b) => b.frame.event_index === row.index);
            setRead((hit?.frame as Json | undefined) ?? null);
            stop();
            done();
          },
          state(s, e) {
            if (e) setError(e);
            if (s === "ended" || s === "failed") (stop(), done());
          },
        },
        true,
      );
    });
  const frame = (held as Json | null) ?? read;
  return (
    <aside class="ev-detail">
      <header>
        <strong>{row.name}</strong> <span class="muted num">{row.index}</span>
        <span class="grow" />
        {row.step && (
          <Button kind="quiet" onClick={() => onStep(row.step)}>
            Step
          </Button>
        )}
        <Button kind="quiet" icon="close" label="Close the event" onClick={onClose} />
      </header>
      {frame ? (
        <JsonText value={frame} />
      ) : (
        <div class="pad">
          <p class="muted">This event's text was dropped to save memory.</p>
          <Button icon="retry" onClick={again}>
            Read it again
          </Button>
          <ErrorBox error={error} />
        </div>
      )}
    </aside>
  );
}
