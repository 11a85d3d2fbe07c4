// Follows a run's events from any index, over lost connections and restarts of the server.
import { ApiError, problemOf } from "./client.ts";
import { SseParser } from "./sse.ts";
import type { Frame } from "./types.ts";

export type StreamState = "connecting" | "live" | "lost" | "ended" | "failed";

export interface RawFrame {
  frame: Frame;
  raw: string;
}

export interface StreamHandlers {
  frames(batch: RawFrame[]): void;
  state(state: StreamState, error?: ApiError): void;
}

/** The longest pause before the next try to connect. */
const MAX_PAUSE_MS = 8000;
const TERMINAL = new Set(["WorkflowCompleted", "WorkflowError", "WorkflowCancelled"]);

/**
 * Reads events `from`, `from + 1`, … and then live ones until the run has ended or the returned
 * function is called. Frames that were seen already are left out, so that none is shown twice.
 */
export function follow(path: string, from: number, handlers: StreamHandlers, once = false): () => void {
  const abort = new AbortController();
  let next = from;
  let pause = 500;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let over = false;

  const connect = async () => {
    handlers.state("connecting");
    let ended = false;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (next > 0) headers["Last-Event-ID"] = String(next - 1);
      const response = await fetch(once ? `${path}?follow=false` : path, {
        headers,
        signal: abort.signal,
        credentials: "same-origin",
        cache: "no-store",
      });
      if (response.status === 204) return finish();
      if (!response.ok || !response.body) {
        const problem = await problemOf(response);
        // What the server refuses it refuses the next time too; its own trouble may pass.
        if (response.status < 500 && response.status !== 429) return fail(problem);
        throw problem;
      }
      handlers.state("live");
      pause = 500;
      const parser = new SseParser();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const batch: RawFrame[] = [];
        for (const message of parser.push(decoder.decode(value, { stream: true }))) {
          if (message.id === null) continue; // catch_up, replay: about the stream, not the run
          let frame: Frame;
          try {
            frame = JSON.parse(message.data) as Frame;
          } catch {
            continue;
          }
          const index = frame.event_index ?? Number(message.id);
          if (index < next) continue;
          next = index + 1;
          ended = TERMINAL.has(frame.event) && (frame.nested_depth ?? 0) === 0;
          batch.push({ frame, raw: message.data });
        }
        if (batch.length > 0) handlers.frames(batch);
      }
      if (ended || once) return finish();
    } catch (error) {
      if (over) return;
      handlers.state("lost", error instanceof ApiError ? error : undefined);
    }
    if (over) return;
    timer = setTimeout(connect, pause);
    pause = Math.min(pause * 2, MAX_PAUSE_MS);
  };
  const finish = () => {
    if (!over) handlers.state("ended");
  };
  const fail = (problem: ApiError) => {
    if (!over) handlers.state("failed", problem);
  };
  void connect();
  return () => {
    over = true;
    clearTimeout(timer);
    abort.abort();
  };
}
