// Numbers of other parts of the server, by flow; a server without these parts gives none.

import { get } from "../api";
import type { Alert, LogEntry } from "../model";

interface Counted {
  signatures?: { flow: string; count: number }[];
}

/** Log entries from ERROR up in the last 24 hours, by flow. */
export async function errorsByFlow(): Promise<Map<string, number>> {
  const found = await get<Counted>("/v1/logs/signatures", { severity: "ERROR", ...around(Date.now() / 1000 - 86_400, Date.now() / 1000), limit: 500 });
  const counts = new Map<string, number>();
  for (const one of found.signatures ?? []) counts.set(one.flow, (counts.get(one.flow) ?? 0) + one.count);
  return counts;
}

export async function firingByFlow(): Promise<Map<string, number>> {
  const found = await get<{ alerts: Alert[] }>("/v1/alerts");
  const counts = new Map<string, number>();
  for (const one of found.alerts) {
    const flow = one.labels["flow"] ?? "";
    counts.set(flow, (counts.get(flow) ?? 0) + 1);
  }
  return counts;
}

export async function errorsOf(flow: string, start: number, end: number, limit = 50): Promise<LogEntry[]> {
  const found = await get<{ entries: LogEntry[] }>("/v1/logs", { flow, severity: "ERROR", ...around(start, end), limit });
  return found.entries;
}

/** A span of time as the server takes it. */
export function around(start: number, end: number): { since_us: number; until_us: number } {
  return { since_us: Math.round(start * 1e6), until_us: Math.round(end * 1e6) };
}

let names: { asked_ms: number; found: Promise<Set<string>> } | null = null;

/** The metrics of which the server keeps samples; asked again after a while. */
export function metricNames(): Promise<Set<string>> {
  if (!names || Date.now() - names.asked_ms > 15_000) {
    const found = get<{ names: { name: string }[] }>("/v1/metrics/names").then((answer) => new Set(answer.names.map((one) => one.name)));
    names = { asked_ms: Date.now(), found };
  }
  return names.found;
}
