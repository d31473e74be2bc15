// States and what a flow is doing, in words. A colour never says something alone: each state has its word and its sign.

import type { Flow } from "./model";
import { ago, count, id, plural, rate, span } from "./format";

export type Tone = "good" | "busy" | "warn" | "bad" | "idle";

export interface StateWords {
  word: string;
  tone: Tone;
  sign: string;
}

const STATES: Record<string, StateWords> = {
  running: { word: "running", tone: "good", sign: "M3 8.5 6.5 12 13 4.5" },
  starting: { word: "starting", tone: "busy", sign: "M8 3v5l3 3" },
  paused: { word: "paused", tone: "warn", sign: "M5.5 3.5v9M10.5 3.5v9" },
  draining: { word: "draining", tone: "busy", sign: "M8 3v9M4 8.5 8 12.5l4-4" },
  stopping: { word: "stopping", tone: "busy", sign: "M8 3v5l3 3" },
  "taking-over": { word: "taking over", tone: "busy", sign: "M3 8h9M9 4.5 12.5 8 9 11.5" },
  rewriting: { word: "rewriting", tone: "busy", sign: "M12.5 8a4.5 4.5 0 1 1-1.5-3.4M12.5 2.5v3h-3" },
  stopped: { word: "stopped", tone: "idle", sign: "M4.5 4.5h7v7h-7z" },
  finished: { word: "finished", tone: "idle", sign: "M3 8.5 6.5 12 13 4.5" },
  scheduled: { word: "scheduled", tone: "idle", sign: "M8 3v5l3 3" },
  waiting: { word: "restarting", tone: "warn", sign: "M8 3v5l3 3" },
  busy: { word: "run by hand", tone: "idle", sign: "M3 8h9M9 4.5 12.5 8 9 11.5" },
  held: { word: "held", tone: "bad", sign: "M8 3v6.5M8 12.6v.1" },
  down: { word: "down", tone: "bad", sign: "M4.5 4.5l7 7M11.5 4.5l-7 7" },
};

export function stateOf(flow: Pick<Flow, "state">): StateWords {
  return STATES[flow.state] ?? { word: flow.state, tone: "idle", sign: "M4 8h8" };
}

export type Freshness = { tone: Tone; word: string; share: number } | null;

/** How old the newest result is against how old it may be. */
export function freshnessOf(flow: Flow): Freshness {
  if (flow.freshness_s === null) return null;
  if (flow.objective_s === null) return { tone: "idle", word: span(flow.freshness_s), share: 0 };
  const share = flow.freshness_s / flow.objective_s;
  return { tone: share <= 0.8 ? "good" : share <= 1 ? "warn" : "bad", word: span(flow.freshness_s), share };
}

/** Which flows want somebody's eyes, most first. */
export function urgency(flow: Flow): number {
  const tone = stateOf(flow).tone;
  const fresh = freshnessOf(flow);
  const late = fresh?.tone === "bad" && tone === "good";
  return tone === "bad" ? 4 : late ? 3 : tone === "warn" ? 2 : flow.deployment ? 1 : 0;
}

export function sentence(flow: Flow): string {
  const said = [head(flow)];
  if (flow.state === "running" && flow.freshness_s !== null) {
    const old = `Its newest result is ${span(flow.freshness_s)} old`;
    if (flow.objective_s === null) said.push(`${old}; nobody said how old it may be.`);
    else said.push(`${old}, ${flow.freshness_s <= flow.objective_s ? "within" : "beyond"} its objective of ${span(flow.objective_s)}.`);
  }
  if (flow.backlog_rows) said.push(`${plural(flow.backlog_rows, "row")} wait at its sources.`);
  return said.join(" ");
}

function head(flow: Flow): string {
  const since = flow.since_us ? ` since ${ago(flow.since_us).replace(" ago", "")}` : "";
  switch (flow.state) {
    case "running":
      return `Version ${id(flow.version)} leads${since}${flow.rows_in_per_s === null ? "" : ` and reads ${rate(flow.rows_in_per_s)}`}.`;
    case "paused":
      return `It is paused: its process stays, and it takes no input.`;
    case "stopped":
      return flow.epoch ? `It is stopped after epoch ${count(flow.epoch)}; nothing is lost.` : "It has not run yet.";
    default:
      return flow.note ? `${flow.note[0]?.toUpperCase()}${flow.note.slice(1)}.` : `It is ${stateOf(flow).word}.`;
  }
}

export const EVENT_WORDS: Record<string, string> = {
  desired: "wish",
  "deployment-begun": "deployment begun",
  "letters-replayed": "dead letters replayed",
  "letters-dropped": "dead letters dropped",
  "rollback-asked": "way back asked for",
  "dashboard-kept": "dashboard kept",
};
