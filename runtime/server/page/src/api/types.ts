// The documents of the server's interface, as far as the page reads them.

export const RUN_STATUSES = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "CANCELLED", "ERROR"] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];
export const isFinal = (status: RunStatus | undefined) =>
  status === "COMPLETED" || status === "CANCELLED" || status === "ERROR";

/** A moment as the server gives it: seconds or milliseconds since 1970, or RFC 3339. */
export type Moment = number | string | null | undefined;

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  cached_input_tokens?: number;
  cache_write_tokens?: number;
  reasoning_tokens?: number;
  usd?: number | null;
  calls?: number;
}

/** A row of a list of runs. */
export interface RunRow {
  run_id: string;
  workflow_id: string;
  workflow_name?: string;
  version?: string;
  status: RunStatus;
  session_id?: string | null;
  user_id?: string | null;
  parent_run_id?: string | null;
  created_at?: Moment;
  started_at?: Moment;
  ended_at?: Moment;
  error?: unknown;
  current_step?: string | null;
  usage?: Usage | null;
  tags?: string[];
}

/** The whole run document. */
export interface RunDocument extends RunRow {
  input?: Json;
  content?: Json;
  step_requirements?: Requirement[];
  paused_step_name?: string | null;
  event_count?: number;
  stale?: boolean;
}

/** What a paused run asks of a person. */
export interface Requirement {
  id: string;
  step_id: string;
  step_name?: string;
  kind: "confirmation" | "user_input" | "output_review" | "tool_confirmation";
  message?: string;
  schema?: Json;
  show?: Json;
  step_input?: Json;
  step_output?: Json;
  expires_at?: Moment;
  on_timeout?: Json;
}

export interface Answer {
  id: string;
  confirmed: boolean;
  user_input?: Json;
  edited_output?: Json;
  feedback?: string;
}

export interface AttemptRecord {
  attempt: number;
  started_at?: Moment;
  ended_at?: Moment;
  error?: unknown;
  due?: Moment;
}

export interface StepRecord {
  step_id: string;
  step_name?: string;
  step_label?: string;
  step_index?: number;
  callee?: string;
  status?: string;
  attempts?: number;
  attempt_list?: AttemptRecord[];
  started_at?: Moment;
  ended_at?: Moment;
  input?: Json;
  content?: Json;
  error?: unknown;
  cached?: boolean;
  usage?: Usage | null;
}

export interface Waiting {
  step_id?: string;
  what?: string;
  text: string;
  subject?: string;
  attempt?: number;
  since?: Moment;
  due?: Moment;
}

export interface WorkflowRow {
  id: string;
  name?: string;
  description?: string;
  version?: string;
  file?: string;
  tags?: string[];
  schedule?: string | null;
  errors?: number;
  warnings?: number;
  stale?: boolean;
}

export interface WorkflowDocument extends WorkflowRow {
  versions?: string[];
  input_schema?: Json;
  output_schema?: Json;
  graph?: import("../model/outline.ts").Outline;
}

export interface Diagnostic {
  code?: string;
  severity: string;
  message: string;
  file?: string;
  line: number;
  column: number;
  end_line?: number;
  end_column?: number;
  label?: string;
  notes?: string[];
  suggestions?: string[];
}

export interface SourceFile {
  path: string;
  workflows?: string[];
  stale?: boolean;
  loaded_at?: Moment;
  text?: string;
  diagnostics?: Diagnostic[];
}

export interface Schedule {
  id: string;
  workflow_id: string;
  cron: string;
  tz?: string;
  overlap?: string;
  catch_up?: string;
  enabled?: boolean;
  next_at?: Moment;
  last_at?: Moment;
  last_run_id?: string | null;
  /** Written in a workflow's file: it is removed there. */
  from_file?: boolean;
  input?: Json;
}

export interface Session {
  session_id: string;
  session_name?: string | null;
  workflow_id?: string | null;
  user_id?: string | null;
  runs?: number;
  created_at?: Moment;
  updated_at?: Moment;
  session_state?: Json;
}

export interface SessionInfo {
  requires_auth: boolean;
  signed_in: boolean;
  name?: string | null;
  user_id?: string | null;
  scopes?: string[];
  version?: string;
}

export interface Page<T> {
  data: T[];
  next: string | null;
  total: number | null;
}

/** One frame of a run's stream. */
export interface Frame {
  event: string;
  event_index: number;
  run_id?: string;
  created_at?: Moment;
  step_id?: string;
  step_name?: string;
  step_index?: number;
  step_label?: string;
  [field: string]: unknown;
}
