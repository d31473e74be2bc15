// What went wrong in the last 24 hours, and beside it the lines of the log that say so.

import { useMemo, useState } from "preact/hooks";
import { get } from "../api";
import { count, id } from "../format";
import type { LogEntry } from "../model";
import { marked } from "../range";
import { Card, Empty, useAsked, useTick } from "../ui/parts";
import { around, errorsOf } from "./counts";
import { orMissing } from "./flow";

interface Signature {
  signature: string;
  count: number;
  new_in?: string | null;
}

const DAY = 86_400;

export function Errors({ flow, step }: { flow: string; step: string }) {
  const turn = useTick(15_000);
  const [chosen, setChosen] = useState("");
  const bounds = marked.value;
  const end = bounds?.to ?? Date.now() / 1000;
  const start = bounds?.from ?? end - DAY;
  const filter = `severity>=ERROR AND resource.labels.flow="${flow}"${step ? ` AND resource.labels.step="${step}"` : ""}`;
  const found = useAsked(() => get<{ signatures: Signature[] }>("/v1/logs/signatures", { flow, filter: step && `resource.labels.step="${step}"`, severity: "ERROR", ...around(start, end) }), [filter, turn, bounds]);
  const lines = useAsked(() => errorsOf(flow, start, end), [flow, turn, bounds]);
  const shown = useMemo(() => (lines.value ?? []).filter((one) => (!step || one.step === step) && (!chosen || sign(one.message) === sign(chosen))), [lines.value, step, chosen]);
  const title = bounds ? "Errors in the marked time" : "Errors in the last 24 hours";
  return (
    <Card id="errors" title={title} more={<a href={`/logs?filter=${encodeURIComponent(filter)}`}>all of them in the logs</a>}>
      {lines.error !== null && !lines.value ? (
        orMissing(lines.error, "The log")
      ) : lines.value?.length === 0 ? (
        <Empty>No error was logged.</Empty>
      ) : (
        <div class="beside">
          <ul class="signatures">
            {(found.value?.signatures ?? []).map((one) => (
              <li key={one.signature}>
                <button type="button" aria-pressed={chosen === one.signature} onClick={() => setChosen(chosen === one.signature ? "" : one.signature)}>
                  <b>{count(one.count)}</b> {one.signature} {one.new_in && <em>new in {id(one.new_in)}</em>}
                </button>
              </li>
            ))}
          </ul>
          <LogLines entries={shown} />
        </div>
      )}
    </Card>
  );
}

function sign(text: string): string {
  return text.split("\n")[0]?.replace(/[0-9a-f]{8,}|\d+|'[^']*'|"[^"]*"/gi, "#") ?? "";
}

export function LogLines({ entries }: { entries: LogEntry[] }) {
  return (
    <ol class="loglines" tabIndex={0} aria-label="Lines of the log">
      {entries.map((one) => (
        <li key={one.insert_id} class={one.severity.toLowerCase()}>
          <time>{one.timestamp.slice(11, 23)}</time> <b>{one.severity}</b> <span class="quiet">{one.step}</span> {one.message}
        </li>
      ))}
    </ol>
  );
}
