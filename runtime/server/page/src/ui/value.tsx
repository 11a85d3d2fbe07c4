// A value: as Markdown, text or JSON, whichever suits it, however large it is.
import { useMemo, useState } from "preact/hooks";
import type { Json } from "../api/types.ts";
import { pretty } from "../model/format.ts";
import { Markdown } from "./markdown.tsx";
import { Button, copyText, download, Segments, VirtualList } from "./parts.tsx";

/** From this many lines on only those that are seen are in the document. */
const VIRTUAL_FROM = 400;

type As = "markdown" | "text" | "json";

/** One line of JSON with its parts told apart. */
function JsonLine({ line }: { line: string }) {
  const m = /^(\s*)("(?:[^"\\]|\\.)*")?(: )?(.*)$/.exec(line);
  if (!m) return <>{line}</>;
  const [, indent, first, colon, rest] = m;
  const isKey = first !== undefined && colon !== undefined;
  const value = isKey ? (rest ?? "") : (first ?? "") + (rest ?? "");
  const kind = /^"/.test(value)
    ? "j-string"
    : /^-?\d/.test(value)
      ? "j-number"
      : /^(true|false|null)/.test(value)
        ? "j-word"
        : "";
  return (
    <>
      {indent}
      {isKey && <span class="j-key">{first}</span>}
      {isKey && ": "}
      <span class={kind}>{value}</span>
    </>
  );
}

export function JsonText({ value }: { value: Json | undefined }) {
  const lines = useMemo(() => pretty(value).split("\n"), [value]);
  if (lines.length > VIRTUAL_FROM) {
    return (
      <VirtualList
        class="json big"
        count={lines.length}
        rowHeight={20}
        label="JSON"
        render={(i) => <JsonLine line={lines[i]!} />}
      />
    );
  }
  return (
    <pre class="json">
      {lines.map((line, i) => (
        <div key={i}>
          <JsonLine line={line} />
        </div>
      ))}
    </pre>
  );
}

export function Value({ value, name = "value" }: { value: Json | undefined; name?: string }) {
  const text = typeof value === "string" ? value : null;
  const looksLikeMarkdown = text !== null && /^#{1,4} |\*\*|^[-*] |^\d+\. |```|\]\(|^\|/m.test(text);
  const [picked, setPicked] = useState<As | null>(null);
  const as: As = text === null ? "json" : (picked ?? (looksLikeMarkdown ? "markdown" : "text"));
  if (value === undefined) return <p class="muted">none</p>;
  return (
    <div class={`value${text === null ? " over" : ""}`}>
      <div class="value-tools">
        {text !== null && (
          <Segments
            label="Shown as"
            value={as}
            onPick={(v) => setPicked(v as As)}
            options={[
              ["markdown", "Markdown"],
              ["text", "Text"],
              ["json", "JSON"],
            ]}
          />
        )}
        <span class="grow" />
        <Button kind="quiet" icon="copy" label="Copy" onClick={() => copyText(text ?? pretty(value))} />
        <Button
          kind="quiet"
          icon="download"
          label="Download"
          onClick={() =>
            text !== null
              ? download(`${name}.md`, text, "text/markdown")
              : download(`${name}.json`, pretty(value), "application/json")
          }
        />
      </div>
      {as === "markdown" ? (
        <Markdown text={text!} />
      ) : as === "text" ? (
        <pre class="plain">{text}</pre>
      ) : (
        <JsonText value={value} />
      )}
    </div>
  );
}
