// Numbers of other parts of the server, by flow; a server without these parts gives none.

import { get } from "../api";
import type { Alert, LogEntry } from "../model";

interface Counted {
  flows?: Record<string, Record<string, number>>;
  signatures?: { flow: string; count: number }[];
}

/** Log entries from ERROR up in the last 24 hours, by flow. */
export async function errorsByFlow(): Promise<Map<string, number>> {
  const start = new Date(Date.now() - 86_400_000).toISOString();
  const found = await get<Counted>("/v1/logs/signatures", { filter: "severity>=ERROR", start, limit: 1000 });
  const counts = new Map<string, number>();
  for (const one of found.signatures ?? []) counts.set(one.flow, (counts.get(one.flow) ?? 0) + one.count);
  return counts;
}

export async function firingByFlow(): Promise<Map<string, number>> {
  const found = await get<{ alerts: Alert[] }>("/v1/alerts");
  const counts = new Map<string, number>();
  for (const one of found.alerts) if (one.state === "firing") counts.set(one.flow, (counts.get(one.flow) ?? 0) + 1);
  return counts;
}

export async function errorsOf(flow: string, start: number, end: number, limit = 50): Promise<LogEntry[]> {
  const filter = `severity>=ERROR AND resource.labels.flow="${flow}"`;
  const found = await get<{ entries: LogEntry[] }>("/v1/logs", { filter, start: moment(start), end: moment(end), limit });
  return found.entries;
}

export function moment(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
