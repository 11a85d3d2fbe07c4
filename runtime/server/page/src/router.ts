// Addresses of the page: everything stands after the `#`, so the server knows of one path only.

export type Route =
  | { view: "runs"; params: Record<string, string> }
  | { view: "run"; workflow: string; run: string; tab: string; params: Record<string, string> }
  | { view: "compare"; params: Record<string, string> }
  | { view: "workflows"; params: Record<string, string> }
  | { view: "workflow"; id: string; tab: string; params: Record<string, string> }
  | { view: "schedules"; params: Record<string, string> }
  | { view: "sessions"; params: Record<string, string> }
  | { view: "session"; id: string; params: Record<string, string> };

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = Object.fromEntries(new URLSearchParams(query));
  const parts = path.split("/").map((p) => {
    try {
      return decodeURIComponent(p);
    } catch {
      return p;
    }
  });
  switch (parts[0]) {
    case "runs":
      if (parts[1] && parts[2])
        return { view: "run", workflow: parts[1], run: parts[2], tab: parts[3] ?? "", params };
      break;
    case "compare":
      return { view: "compare", params };
    case "workflows":
      if (parts[1]) return { view: "workflow", id: parts[1], tab: parts[2] ?? "", params };
      return { view: "workflows", params };
    case "schedules":
      return { view: "schedules", params };
    case "sessions":
      if (parts[1]) return { view: "session", id: parts[1], params };
      return { view: "sessions", params };
  }
  return { view: "runs", params };
}

/** An address from its parts: each is escaped. */
export function href(parts: string[], params: Record<string, string | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== "") query.set(k, v);
  const text = query.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export const runHref = (
  workflow: string,
  run: string,
  tab = "",
  params: Record<string, string | undefined> = {},
) => href(tab ? ["runs", workflow, run, tab] : ["runs", workflow, run], params);
