// What the server tells, as types. Times with `_us` are microseconds since 1970, those with `_s` seconds.

export interface Flow {
  flow: string;
  state: string;
  want: string | null;
  version: string;
  note: string;
  choices: string[];
  epoch: number | null;
  generation: number | null;
  committed_us: number | null;
  watermark_us: number | null;
  failures: number;
  next_us: number | null;
  deployment: string | null;
  standbys: number;
  owner: string;
  objective_s: number | null;
  freshness_s: number | null;
  dead_letters: number;
  backlog_rows: number | null;
  backlogs: Record<string, { rows: number | null; size_bytes: number | null }>;
  since_us: number | null;
  rows_in_per_s: number | null;
  rows_out_per_s: number | null;
  spark: number[];
}

export interface Step {
  name: string;
  kind: string;
  text: string;
  source: string;
  location: string;
  columns: Record<string, string>;
  key: string[];
  inputs: string[];
  stateful: boolean;
  event_time: string | null;
  place: string | null;
  dataset: string | null;
  x: number;
  layer: number;
}

export interface Graph {
  version: string;
  width: number;
  layers: number;
  box_width: number;
  steps: Step[];
  edges: { from: string; to: string; points: number[] }[];
}

export interface Lane {
  at_us: number;
  version: string;
  generation: number;
  epoch: number;
}

export interface History {
  slice_s: number;
  since_us: number;
  times_s: number[];
  rows_in: Record<string, number[]>;
  rows_out: Record<string, number[]>;
  rows_late: number[];
  rows_dead: number[];
  epochs: number[];
  longest_ms: (number | null)[];
  delay_s: (number | null)[];
  busy: number[];
  blocked: number[];
  lane: Lane[];
}

export interface Letter {
  id: number;
  state: string;
  epoch: number;
  step: string;
  error: string;
  message: string;
  payload: string;
  offset: Record<string, unknown>;
  version: string;
}

export interface LetterGroup {
  cause: string;
  signature: string;
  step: string;
  error: string;
  message: string;
  count: number;
  open: number;
  states: Record<string, number>;
  first_epoch: number;
  last_epoch: number;
  versions: string[];
  letters: Letter[];
}

export interface Tried {
  id: number;
  step: string;
  verdict: string;
  error?: { message: string };
  written?: Record<string, { rows: number; deleted: number; shown: Row[] }>;
  late?: number;
  dead?: { step: string; message: string }[];
  remembered_by?: string[];
}

export type Row = Record<string, unknown>;

export interface EventNote {
  id: number;
  kind: string;
  flow: string;
  body: Record<string, unknown>;
  who: string;
  at_us: number;
}

export interface RowDiff {
  sink: string;
  key: string[];
  rows_old: number;
  rows_new: number;
  equal: number;
  changed: number;
  only_old: number;
  only_new: number;
  changes: { columns: string[]; rows: number }[];
  columns: { added: Record<string, string>; removed: Record<string, string>; retyped: Record<string, string[]> };
  samples: { changed?: Row[]; only_old?: Row[]; only_new?: Row[] };
  epochs: [number, number] | null;
  limits: string[];
}

export interface GateFacts {
  passed?: boolean;
  reasons?: string[];
  forced?: boolean;
  diff?: Record<string, RowDiff>;
  old?: Record<string, unknown>;
  new?: Record<string, unknown>;
}

export interface Deployment {
  id: string;
  flow: string;
  kind: string;
  old_version: string;
  new_version: string;
  plan: { stage: string; [option: string]: unknown }[];
  stage: string;
  status: string;
  facts: Record<string, Record<string, unknown>>;
  receipt: Record<string, unknown>;
  who: string;
  why: string;
  made_us: number;
  ended_us: number | null;
}

export interface UndoPreview {
  to_epoch: number;
  why: string;
  version: string;
  starts_from_epoch: number;
  epochs_run_again: number;
  possible: boolean;
  taken_back: {
    first: number;
    last: number;
    epochs: number;
    rows_in: number;
    rows_dead: number;
    versions: Record<string, number>;
    sinks: Record<string, { epochs: number; rows: number }>;
  };
  sinks: Record<string, { kind: string; place: string; undoable: boolean; corrects: boolean }>;
  input: Record<string, { there: boolean; message: string }>;
  error: { message: string } | null;
}

export interface Epoch {
  epoch: number;
  generation: number;
  version: string;
  plan: {
    ranges: Record<string, { start: unknown; end: unknown }>;
    now_us: number;
    seed: string | number;
    final: boolean;
    redrive: { letter: number }[];
  };
  watermark_us: number | null;
  rows_in: Record<string, number>;
  rows_out: Record<string, number>;
  rows_late: number;
  rows_dead: number;
  checks: Record<string, { passed: number; failed: number }>;
  receipts: Record<string, unknown>;
  timings_ms: Record<string, number>;
  segment: { file: string; size_bytes: number } | null;
  committed_us: number;
}

export interface VersionFacts {
  version: string;
  first_us: number;
  manifest: { made_us?: number; who?: string; why?: string; git?: { commit?: string } | null };
}

export interface LogEntry {
  timestamp: string;
  severity: string;
  flow: string;
  step: string;
  version: string;
  epoch: number | null;
  worker: string;
  message: string;
  attrs: unknown;
  insert_id: string;
}

export interface Panel {
  title: string;
  kind: "metric" | "sql" | "logs";
  metric: string;
  function: string;
  flow: string;
  query: string;
  view: "line" | "bar" | "table" | "number";
  wide: boolean;
}

export interface Dashboard {
  id: string;
  title: string;
  scope: "flow" | "team" | "project";
  about: string;
  range: string;
  panels: Panel[];
  who: string;
}

/** The history of a metric: a value for each time, null where there was no sample. */
export interface SeriesAnswer {
  times_us: number[];
  series: { labels: Record<string, string>; values: (number | null)[] }[];
}

export interface SqlResult {
  columns: { name: string; type: string }[];
  rows: unknown[][];
  truncated: boolean;
}

export interface Table {
  name: string;
  kind: string;
  place: string;
  key: string[];
  flow: string;
  step: string;
}

export interface Alert {
  id: string;
  rule: string;
  severity: string;
  labels: Record<string, string>;
  state: "pending" | "firing" | "resolved";
  since_us: number;
  samples: string[];
  /** What is wrong, in a sentence. */
  text: string;
  /** Why nobody is told; empty where somebody is. */
  quiet: string;
}

export interface Rule {
  name: string;
  severity: string;
  basis: "metric" | "log-entry" | "log-rate" | "sql";
  query: string;
  summary: string;
  target: string;
  unit: string;
  for_s: number;
  keep_s: number;
  over_s: number;
  above: number;
}

/** A time in which an alert would have fired; `end_us` null: it fires still. */
export interface Episode {
  labels: Record<string, string>;
  fired_us: number;
  end_us: number | null;
  worst: number;
}

export interface Backtest {
  start_us: number;
  end_us: number;
  known_us: number | null;
  episodes: Episode[];
}
