// What the server tells by itself: one connection a page. The browser connects again and says which event it saw last.

import { signal, computed } from "@preact/signals";
import type { EventNote, Flow } from "./model";

export const flows = signal<ReadonlyMap<string, Flow> | null>(null);
export const notes = signal<EventNote[]>([]);
export const link = signal<"connecting" | "live" | "lost">("connecting");
export const trouble = signal("");
/** Counts messages: what follows a flow asks again when it changes. */
export const beat = signal(0);
export const sorted = computed(() => [...(flows.value?.values() ?? [])].sort((one, other) => one.flow.localeCompare(other.flow)));

const NOTES_MOST = 200;
let source: EventSource | null = null;

export function connect(): void {
  source?.close();
  source = new EventSource("/v1/stream");
  source.onopen = () => (link.value = "live");
  source.onerror = () => (link.value = "lost");
  source.addEventListener("flows", (message) => {
    const told = JSON.parse((message as MessageEvent<string>).data) as { all: boolean; flows: Flow[]; gone?: string[] };
    const next = new Map(told.all ? [] : flows.value);
    for (const flow of told.flows) next.set(flow.flow, flow);
    for (const name of told.gone ?? []) next.delete(name);
    flows.value = next;
    trouble.value = "";
    beat.value++;
  });
  source.addEventListener("event", (message) => {
    notes.value = [JSON.parse((message as MessageEvent<string>).data) as EventNote, ...notes.value].slice(0, NOTES_MOST);
    beat.value++;
  });
  source.addEventListener("trouble", (message) => {
    trouble.value = (JSON.parse((message as MessageEvent<string>).data) as { message: string }).message;
  });
}

export function disconnect(): void {
  source?.close();
  source = null;
  flows.value = null;
}
