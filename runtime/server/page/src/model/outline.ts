// The step graph of a program as `GET /workflows/{id}` gives it (compiler/ir/outline.hpp).

export interface OutlineNode {
  id: number;
  kind: string;
  name: string;
  named: boolean;
  doc?: string;
  file?: number;
  line?: number;
  text?: string | null;
  type?: string;
  callee?: string;
  callee_kind?: string;
  args?: { name: string; text: string | null }[];
  options?: Record<string, string>;
  target?: string;
  arms?: { when: string | null; body: OutlineNode[] | null }[];
  join?: string;
  first?: number;
  limit?: number;
  branches?: { name: string; body: OutlineNode[] | null }[];
  variables?: string[];
  continues?: boolean;
  max?: string | null;
  until?: string | null;
  while?: string | null;
  body?: OutlineNode[] | null;
  catches?: { name: string; guard: string | null; body: OutlineNode[] | null }[];
  finally?: OutlineNode[] | null;
}

export interface OutlineCallable {
  kind: string;
  doc?: string;
  result?: string;
  body?: OutlineNode[] | null;
  model?: string;
  mode?: string;
  call?: number;
  members?: { name: string; doc: string; id: number; callee: string }[];
  tools?: { name: string; doc: string; id: number; callee: string }[];
}

export interface Outline extends OutlineCallable {
  name: string;
  params?: { name: string; type: string; doc: string; default: string | null }[];
  options?: Record<string, string>;
  files?: string[];
  callables?: Record<string, OutlineCallable>;
}

function eachBlock(node: OutlineNode, visit: (block: OutlineNode[]) => void) {
  const all = [
    node.body,
    node.finally,
    ...(node.arms ?? []).map((a) => a.body),
    ...(node.branches ?? []).map((b) => b.body),
    ...(node.catches ?? []).map((c) => c.body),
  ];
  for (const block of all) if (block) visit(block);
}

/** What is called by the node of that number (`step_index` of frames), in the workflow and all it calls. */
export function calleesByNode(outline: Outline | undefined): Map<number, string> {
  const out = new Map<number, string>();
  const walk = (block: OutlineNode[]) => {
    for (const node of block) {
      if (node.callee) out.set(node.id, node.callee);
      eachBlock(node, walk);
    }
  };
  if (!outline) return out;
  for (const callable of [outline, ...Object.values(outline.callables ?? {})]) {
    if (callable.body) walk(callable.body);
    if (callable.call !== undefined && callable.model) out.set(callable.call, callable.model);
    for (const tool of [...(callable.members ?? []), ...(callable.tools ?? [])])
      out.set(tool.id, tool.callee);
  }
  return out;
}

/** How many statements the outline has, callables not counted. */
export function sizeOf(block: OutlineNode[] | null | undefined): number {
  let n = 0;
  for (const node of block ?? []) {
    ++n;
    eachBlock(node, (inner) => (n += sizeOf(inner)));
  }
  return n;
}

/** A step's path below that of the block it stands in. */
export const childPath = (outer: string, name: string) => (outer === "" ? name : `${outer}.${name}`);
