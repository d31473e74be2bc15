// Who did what with a flow, newest first.

import { get, path } from "../api";
import { short, value } from "../format";
import { beat } from "../live";
import type { EventNote } from "../model";
import { Card, Empty, Time, Trouble, useAsked } from "../ui/parts";
import { EVENT_WORDS } from "../words";

/** What says itself what it is. */
const PLAIN = new Set(["sentence", "why", "want", "rule"]);

export function Events({ flow }: { flow: string }) {
  const found = useAsked(() => get<{ events: EventNote[] }>(path("/v1/flows/{flow}/events", { flow }), { limit: 50 }), [flow, beat.value]);
  return (
    <Card id="events" title="Who did what">
      {found.error !== null && <Trouble error={found.error} />}
      {found.value?.events.length === 0 && <Empty>Nothing yet.</Empty>}
      <ol class="events" tabIndex={0} aria-label={`Events of ${flow}`}>
        {found.value?.events.map((one) => (
          <li key={one.id}>
            <Time us={one.at_us} />
            <b>{EVENT_WORDS[one.kind] ?? one.kind.replaceAll("-", " ")}</b>
            <span>{one.who}</span>
            <span class="quiet">{told(one.body)}</span>
          </li>
        ))}
      </ol>
    </Card>
  );
}

function told(body: Record<string, unknown>): string {
  const skipped = new Set(["options", "at_us", "letters", "id", "labels"]);
  const shown = Object.entries(body).filter(([name, one]) => !skipped.has(name) && one !== "" && one !== null);
  return shown.map(([name, one]) => (PLAIN.has(name) ? value(one) : `${name} ${typeof one === "number" ? short(one) : value(one)}`)).join(" · ");
}
