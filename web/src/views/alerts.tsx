// Alerts: what fires, since when, and silence for as long as somebody works on it.

import { get, path, wish } from "../api";
import { beat } from "../live";
import type { Alert } from "../model";
import { mayAct } from "../session";
import { confirm } from "../ui/dialog";
import { Ago, Button, Card, Empty, Pill, useAsked, useTick } from "../ui/parts";
import { sentences } from "./actions";
import { orMissing } from "./flow";

const SILENCE_S = 3600;

export function Alerts() {
  const turn = useTick(10_000);
  const found = useAsked(() => get<{ alerts: Alert[] }>("/v1/alerts"), [turn, beat.value]);
  const all = [...(found.value?.alerts ?? [])].sort((one, other) => Number(other.state === "firing") - Number(one.state === "firing") || other.since_us - one.since_us);
  return (
    <div>
      <div class="title">
        <div>
          <h1>Alerts</h1>
          <p class="lead">{found.value ? `${all.filter((one) => one.state === "firing").length} firing, ${all.length} known.` : "What is wrong, since when, and who was told."}</p>
        </div>
      </div>
      <Card title="Now">
        {found.error !== null && !found.value && orMissing(found.error, "Alerting")}
        {found.value && all.length === 0 && <Empty>Nothing is wrong that a rule knows of.</Empty>}
        {all.map((one) => (
          <article class="alert" key={one.id}>
            <Pill tone={one.silenced_until_us ? "idle" : one.state === "firing" ? "bad" : one.state === "pending" ? "warn" : "good"} sign={one.state === "firing" ? "M8 3v6.5M8 12.6v.1" : "M3 8.5 6.5 12 13 4.5"}>
              {one.silenced_until_us ? "silenced" : one.state}
            </Pill>
            <span>
              <strong>{one.rule}</strong> <a href={`/flows/${encodeURIComponent(one.flow)}`}>{one.flow}</a>
              <p>{one.sentence}</p>
            </span>
            <Ago us={one.since_us} />
            {mayAct.value && one.state === "firing" && !one.silenced_until_us && <Button onClick={() => confirm(silence(one))}>Silence…</Button>}
          </article>
        ))}
      </Card>
    </div>
  );
}

function silence(one: Alert) {
  return {
    title: `Silence ${one.rule} of ${one.flow}?`,
    happens: sentences(["For one hour nobody is told of it. It goes on being looked at, and is shown here."]),
    verb: "Silence",
    why: "wanted" as const,
    done: "Silenced for an hour",
    act: (why: string) => wish(path("/v1/alerts/{id}/silence", { id: one.id }), { seconds: SILENCE_S, why }),
  };
}
