// Where the time of each step went: of the last minute, as the server's samples tell it.

import { get, has } from "../api";
import { bytes, plural } from "../format";
import type { Flow, SeriesAnswer } from "../model";

/** Parts of the time that passed. They come to less than 1 where the end of an epoch or of a rest is still to come. */
export interface StepShares {
  busy: number;
  blocked: number;
  idle: number;
}

const METRIC = "penstock_step_time_seconds_total";

export async function stepShares(flow: string): Promise<Record<string, StepShares>> {
  if (!has("/v1/metrics/series")) return {};
  // A server that has just begun has no sample of it yet, and would refuse the question.
  const known = await get<{ names: { name: string }[] }>("/v1/metrics/names");
  if (!known.names.some((one) => one.name === METRIC)) return {};
  const answer = await get<SeriesAnswer>("/v1/metrics/series", { name: METRIC, flow, function: "rate", over: "1m", step: "10s" });
  const found: Record<string, StepShares> = {};
  for (const { labels, values } of answer.series) {
    const there = values.filter((one) => one !== null);
    const state = labels["state"] as keyof StepShares;
    if (!there.length || !labels["step"]) continue;
    const shares = (found[labels["step"]] ??= { busy: 0, blocked: 0, idle: 0 });
    shares[state] = there.reduce((sum, one) => sum + one, 0) / there.length;
  }
  for (const shares of Object.values(found)) {
    // A rest of many minutes is told when it ends, in one sample.
    const most = Math.max(1, shares.busy + shares.blocked + shares.idle);
    for (const state of ["busy", "blocked", "idle"] as const) shares[state] /= most;
  }
  return found;
}

/** What a step does while it is busy: a read waits for rows to be read, a write for its sink. */
function deed(kind: string): string {
  return kind === "read" ? "reading" : kind === "write" ? "writing" : "busy";
}

export function percent(share: number): string {
  return share > 0 && share < 0.01 ? "under 1 %" : `${Math.round(share * 100)} %`;
}

export function shareWords(kind: string, shares: StepShares): string {
  return `${deed(kind)} ${percent(shares.busy)}, blocked ${percent(shares.blocked)}, idle ${percent(shares.idle)}`;
}

/** What waits at a read: rows where its source can count them, else bytes; empty where nothing does, or nobody knows. */
export function waitWords(flow: Flow, step: string): string {
  const waiting = flow.backlogs?.[step];
  if (waiting?.rows) return `${plural(waiting.rows, "row")} wait`;
  return waiting?.rows === null && waiting.size_bytes ? `${bytes(waiting.size_bytes)} wait` : "";
}
