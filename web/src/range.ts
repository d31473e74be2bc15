// One time range for all that is on a page. It is in the address.

import { signal, computed } from "@preact/signals";
import { note, place } from "./route";

export const RANGES: Record<string, number> = { "15m": 900, "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800 };

export const rangeName = computed(() => {
  const asked = place.value.query.get("range") ?? "";
  return asked in RANGES ? asked : "1h";
});
export const rangeSeconds = computed(() => RANGES[rangeName.value] ?? 3600);
/** What a person marked in a chart, in seconds; all that is below shows only this. */
export const marked = signal<{ from: number; to: number } | null>(null);

export function setRange(name: string): void {
  marked.value = null;
  note({ range: name === "1h" ? "" : name });
}

export function interval(): { start: number; end: number } {
  const end = Date.now() / 1000;
  return marked.value ? { start: marked.value.from, end: marked.value.to } : { start: end - rangeSeconds.value, end };
}
