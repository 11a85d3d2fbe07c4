// Server-sent events out of pieces of text, as they come from the network.

export interface SseMessage {
  id: string | null;
  event: string;
  data: string;
}

/** One stream's parser. Pieces may end anywhere, also within a line break. */
export class SseParser {
  retry: number | null = null;
  private rest = "";
  private skipLf = false;
  private id: string | null = null;
  private event = "";
  private data: string[] = [];

  /** Gives the messages that `piece` completes. */
  push(piece: string): SseMessage[] {
    const out: SseMessage[] = [];
    if (this.skipLf && piece.startsWith("\n")) piece = piece.slice(1);
    if (piece !== "") this.skipLf = false;
    const text = this.rest + piece;
    let begin = 0;
    for (let i = this.rest.length; i < text.length; ++i) {
      const c = text.charCodeAt(i);
      if (c !== 10 && c !== 13) continue;
      this.line(text.slice(begin, i), out);
      if (c === 13) {
        if (i + 1 === text.length) this.skipLf = true;
        else if (text.charCodeAt(i + 1) === 10) ++i;
      }
      begin = i + 1;
    }
    this.rest = text.slice(begin);
    return out;
  }

  private line(line: string, out: SseMessage[]) {
    if (line === "") {
      if (this.data.length > 0)
        out.push({ id: this.id, event: this.event || "message", data: this.data.join("\n") });
      this.event = "";
      this.data = [];
      this.id = null;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: keepalive
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id") this.id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}
