// Alerts: what fires, since when, and silence for as long as somebody works on it.

import { get, wish } from "../api";
import { beat } from "../live";
import type { Alert } from "../model";
import { mayAct } from "../session";
import { confirm } from "../ui/dialog";
import { Ago, Button, Card, Empty, Pill, useAsked, useTick } from "../ui/parts";
import type { Tone } from "../words";
import { sentences } from "./actions";
import { orMissing } from "./flow";

const FIRES = "M8 3v6.5M8 12.6v.1";
const OVER = "M3 8.5 6.5 12 13 4.5";

export function Alerts() {
  const turn = useTick(10_000);
  const found = useAsked(() => get<{ alerts: Alert[] }>("/v1/alerts", { every: true }), [turn, beat.value]);
  const all = (found.value?.alerts ?? []).filter((one) => one.rule !== "Watchdog");
  const firing = all.filter((one) => one.state === "firing");
  const others = all.filter((one) => one.state !== "firing");
  return (
    <div>
      <div class="title">
        <div>
          <h1>Alerts</h1>
          <p class="lead">{found.value ? `${firing.length} firing.` : "What is wrong, since when, and who was told."}</p>
        </div>
      </div>
      <Card title="Now">
        {found.error !== null && !found.value && orMissing(found.error, "Alerting")}
        {found.value && firing.length === 0 && <Empty>Nothing is wrong that a rule knows of.</Empty>}
        {firing.map((one) => (
          <Line key={one.id} one={one} />
        ))}
      </Card>
      {others.length > 0 && (
        <Card title="Waiting, or over within a day">
          {others.map((one) => (
            <Line key={one.id} one={one} />
          ))}
        </Card>
      )}
    </div>
  );
}

function Line({ one }: { one: Alert }) {
  const flow = one.labels.flow;
  return (
    <article class="alert">
      <Pill tone={tone(one)} sign={one.state === "resolved" ? OVER : FIRES}>
        {one.state === "firing" ? one.severity : one.state === "resolved" ? "over" : "waits"}
      </Pill>
      <span>
        <strong>{one.rule}</strong> {flow && <a href={`/flows/${encodeURIComponent(flow)}`}>{flow}</a>}
        <p>{one.text}</p>
        {one.quiet && <p class="quiet">{one.quiet}</p>}
        {one.samples.map((line) => (
          <code key={line}>{line}</code>
        ))}
      </span>
      <Ago us={one.resolved_us ?? one.fired_us ?? one.since_us} />
      {mayAct.value && flow && one.state === "firing" && !one.quiet && <Button onClick={() => confirm(silence(one, flow))}>Silence…</Button>}
    </article>
  );
}

function tone(one: Alert): Tone {
  if (one.quiet) return "idle";
  if (one.state !== "firing") return one.state === "pending" ? "warn" : "good";
  return one.severity === "page" ? "bad" : "warn";
}

function silence(one: Alert, flow: string) {
  return {
    title: `Silence ${one.rule} of ${flow}?`,
    happens: sentences(["For one hour nobody is told of it. It goes on being looked at, and is shown here."]),
    verb: "Silence",
    why: "wanted" as const,
    done: "Silenced for an hour",
    act: (why: string) => wish("/v1/silences", { matchers: `rule=${JSON.stringify(one.rule)}, flow=${JSON.stringify(flow)}`, for: "1h", why }),
  };
}
