// One run, live: its document, its events as they come, and the exact times of its steps.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, ApiError } from "../api/client.ts";
import { follow, type StreamState } from "../api/stream.ts";
import { isFinal, type RunDocument, type WorkflowDocument } from "../api/types.ts";
import { millis } from "../model/format.ts";
import { calleesByNode } from "../model/outline.ts";
import { RunFold } from "../model/run.ts";
import { hasEnded } from "../model/step.ts";

/** Events before the last this many are not read at first. */
const MOST_AT_FIRST = 50_000;
/** How often the exact times are asked for while a run goes on. */
const STEPS_EVERY_MS = 2500;
/** Of at most this many child runs, the latest, exact times are asked for. */
const MOST_CHILDREN = 20;
/** A run of more steps has no exact times while it goes on: the answer would be too large. */
const MOST_STEPS_LIVE = 3000;

const FRAME_MS = 16;
/** A rendering that took `n` ms longer than a frame is followed by a pause of this many times that. */
const PAUSE_FOR_WORK = 4;
const LONGEST_PAUSE_MS = 250;

export interface LiveRun {
  fold: RunFold;
  doc: RunDocument | null;
  workflow: WorkflowDocument | null;
  stream: StreamState;
  streamError: ApiError | null;
  error: ApiError | null;
  reload(): void;
  /** Reads the events from this index on, instead of those that are held. */
  readFrom(index: number): void;
}

export function useRun(workflowId: string, runId: string): LiveRun {
  const [doc, setDoc] = useState<RunDocument | null>(null);
  const [workflow, setWorkflow] = useState<WorkflowDocument | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [stream, setStream] = useState<StreamState>("connecting");
  const [streamError, setStreamError] = useState<ApiError | null>(null);
  const [from, setFrom] = useState<number | null>(null);
  const [turn, setTurn] = useState(0);
  const [, setVersion] = useState(0);
  const fold = useMemo(() => new RunFold(from ?? 0), [workflowId, runId, from]);
  const latestFold = useRef(fold);
  latestFold.current = fold;

  // Many changes, one rendering; and after one that took long a pause, so that whoever scrolls or
  // types is not kept waiting by a run that says hundreds of things a second.
  const frame = useRef(0);
  const notBefore = useRef(0);
  const changed = () => {
    if (frame.current !== 0) return;
    const show = () => {
      const begin = performance.now();
      frame.current = 0;
      notBefore.current = Infinity;
      setVersion(latestFold.current.version);
      // After it was rendered, laid out and drawn.
      requestAnimationFrame(() =>
        setTimeout(() => {
          const end = performance.now();
          notBefore.current = end + Math.min(LONGEST_PAUSE_MS, (end - begin - FRAME_MS) * PAUSE_FOR_WORK);
        }),
      );
    };
    const wait = Math.min(LONGEST_PAUSE_MS, notBefore.current - performance.now());
    // A page that nobody sees has no animation frames.
    if (document.hidden) frame.current = window.setTimeout(show, 250);
    else if (wait > FRAME_MS)
      frame.current = window.setTimeout(() => (frame.current = requestAnimationFrame(show)), wait - FRAME_MS);
    else frame.current = requestAnimationFrame(show);
  };

  // The document: at first, when the state of the run changes, and when something was done to it.
  const state = `${fold.status}/${[...fold.questions.keys()].join()}`;
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(
      () => {
        api
          .run(workflowId, runId, abort.signal)
          .then((d) => {
            setDoc(d);
            setError(null);
            setFrom((known) => known ?? Math.max(0, (d.event_count ?? 0) - MOST_AT_FIRST));
          })
          .catch((e: unknown) => {
            if ((e as Error).name !== "AbortError")
              setError(e instanceof ApiError ? e : new ApiError(0, "the page failed", String(e)));
          });
      },
      doc === null ? 0 : 120,
    );
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [workflowId, runId, state, turn]);

  useEffect(() => {
    fold.setTimes(millis(doc?.started_at), millis(doc?.ended_at));
    changed();
  }, [doc, fold, fold.status]);

  // The program that the run runs, for its graph.
  const version = doc?.version;
  useEffect(() => {
    if (!doc) return;
    let over = false;
    api
      .workflow(workflowId, version)
      .catch(() => api.workflow(workflowId))
      .then((w) => {
        if (!over) setWorkflow(w);
      })
      .catch(() => {
        // A graph can be drawn from the events, too.
        if (!over) setWorkflow(null);
      });
    return () => {
      over = true;
    };
  }, [workflowId, doc !== null, version]);
  useEffect(() => {
    fold.setCallees(calleesByNode(workflow?.graph), new Set(Object.keys(workflow?.graph?.callables ?? {})));
    changed();
  }, [workflow, fold]);

  // Connected anew when the run has gone on after its end: a failed one that was resumed. Once for
  // each document, so that a server of another mind is not asked for ever.
  const [connection, setConnection] = useState(0);
  useEffect(() => {
    if (stream !== "ended" || !doc) return;
    if (!isFinal(doc.status) || (doc.event_count ?? 0) > fold.nextEvent) setConnection((n) => n + 1);
  }, [doc]);

  // The events.
  useEffect(() => {
    if (from === null) return;
    setStream("connecting");
    return follow(api.eventsPath(workflowId, runId), fold.nextEvent, {
      frames(batch) {
        for (const { frame: f, raw } of batch) fold.apply(f, raw);
        changed();
      },
      state(s, e) {
        setStream(s);
        setStreamError(e ?? null);
      },
    });
  }, [workflowId, runId, from, connection]);

  // Exact times: at the end, and now and then before it.
  const over = isFinal(fold.status);
  const timed = useRef(new Set<string>());
  const askedAt = useRef(-1);
  useEffect(() => {
    if (from === null) return;
    const abort = new AbortController();
    const ask = async () => {
      if (document.hidden || askedAt.current === fold.version || fold.steps.size === 0) return;
      if (!over && fold.steps.size > MOST_STEPS_LIVE) return;
      try {
        const records = await api.steps(workflowId, runId, true, abort.signal);
        fold.overlay(records);
        for (const [child, { path, workflow: of }] of [...fold.childRuns].slice(-MOST_CHILDREN)) {
          if (timed.current.has(child) || !of) continue;
          const outer = fold.step(path);
          fold.overlay(await api.steps(of, child, true, abort.signal), path);
          if (outer && hasEnded(outer.status)) timed.current.add(child); // they change no more
        }
        askedAt.current = fold.version;
        changed();
      } catch {
        // Whole seconds will do; what is wrong with the server is told elsewhere.
      }
    };
    const soon = setTimeout(ask, over ? 60 : 400);
    const timer = over ? undefined : setInterval(ask, STEPS_EVERY_MS);
    return () => {
      clearTimeout(soon);
      clearInterval(timer);
      abort.abort();
    };
  }, [fold, over, stream === "ended", from]);

  return {
    fold,
    doc,
    workflow,
    stream,
    streamError,
    error,
    reload: () => setTurn((n) => n + 1),
    readFrom: (index) => setFrom(Math.max(0, index)),
  };
}
