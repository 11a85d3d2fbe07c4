// Markdown as elements, never as HTML: what a model writes cannot become part of the page.
import { lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";

/** Longer texts are shown as they are. */
const MOST_CHARS = 400_000;

const safeLink = (href: string) => (/^(https?:|mailto:|#)/i.test(href) ? href : undefined);
const decode = (text: string) =>
  text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&amp;", "&");

function all(tokens: Token[] | undefined): ComponentChildren[] {
  return (tokens ?? []).map((t, i) => <Part key={i} token={t} />);
}

function Part({ token }: { token: Token }): ComponentChildren {
  switch (token.type) {
    case "heading": {
      const Tag = `h${Math.min(6, (token as Tokens.Heading).depth)}` as "h1";
      return <Tag>{all(token.tokens)}</Tag>;
    }
    case "paragraph":
      return <p>{all(token.tokens)}</p>;
    case "text":
      return token.tokens ? all(token.tokens) : decode(token.text as string);
    case "escape":
      return decode(token.text as string);
    case "strong":
      return <strong>{all(token.tokens)}</strong>;
    case "em":
      return <em>{all(token.tokens)}</em>;
    case "del":
      return <del>{all(token.tokens)}</del>;
    case "codespan":
      return <code>{decode(token.text as string)}</code>;
    case "code":
      return <pre class="code">{token.text as string}</pre>;
    case "br":
      return <br />;
    case "hr":
      return <hr />;
    case "blockquote":
      return <blockquote>{all(token.tokens)}</blockquote>;
    case "link": {
      const href = safeLink(String(token.href));
      return href ? (
        <a href={href} target="_blank" rel="noreferrer noopener">
          {all(token.tokens)}
        </a>
      ) : (
        all(token.tokens)
      );
    }
    case "image": {
      // Nothing is loaded from elsewhere: an image is a link to it.
      const href = safeLink(String(token.href));
      const text = (token.text as string) || String(token.href);
      return href ? (
        <a href={href} target="_blank" rel="noreferrer noopener">
          {text}
        </a>
      ) : (
        text
      );
    }
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item, i) => (
        <li key={i}>
          {item.task && <input type="checkbox" checked={item.checked ?? false} disabled />}
          {all(item.tokens)}
        </li>
      ));
      return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
    }
    case "checkbox":
      return null;
    case "table": {
      const table = token as Tokens.Table;
      return (
        <div class="table-scroll">
          <table>
            <thead>
              <tr>
                {table.header.map((c, i) => (
                  <th key={i}>{all(c.tokens)}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {table.rows.map((r, i) => (
                <tr key={i}>
                  {r.map((c, j) => (
                    <td key={j}>{all(c.tokens)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    }
    case "space":
    case "def":
      return null;
    default:
      // HTML and what else there may be: as the text that it is.
      return token.raw;
  }
}

export function Markdown({ text }: { text: string }) {
  const tokens = useMemo(() => (text.length > MOST_CHARS ? null : lexer(text)), [text]);
  if (!tokens) return <pre class="plain">{text}</pre>;
  return <div class="markdown">{all(tokens)}</div>;
}
