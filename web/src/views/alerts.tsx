// Alerts: what fires, since when, and silence for as long as somebody works on it.

import { get, path, wish } from "../api";
import { beat } from "../live";
import type { Alert } from "../model";
import { mayAct } from "../session";
import { confirm } from "../ui/dialog";
import { Ago, Button, Card, Empty, Pill, Time, useAsked, useTick } from "../ui/parts";
import { sentences } from "./actions";
import { orMissing } from "./flow";
import { Rules } from "./rules";

const TONES = { firing: "bad", pending: "warn", resolved: "good" } as const;
const SIGNS = { firing: "M8 3v6.5M8 12.6v.1", pending: "M8 3v5l3 3", resolved: "M3 8.5 6.5 12 13 4.5" } as const;

export function Alerts() {
  const turn = useTick(10_000);
  const found = useAsked(() => get<{ alerts: Alert[] }>("/v1/alerts", { every: true }), [turn, beat.value]);
  const all = found.value?.alerts ?? [];
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
            <Pill tone={TONES[one.state]} sign={SIGNS[one.state]}>
              {one.state}
            </Pill>
            <span>
              <strong>{one.rule}</strong> {one.labels["flow"] && <a href={`/flows/${encodeURIComponent(one.labels["flow"])}`}>{one.labels["flow"]}</a>} <span class="quiet">{one.severity}</span>
              <p>{one.text}</p>
              {one.quiet && <p class="quiet">Nobody is told: {one.quiet}.</p>}
              {one.samples.map((line) => (
                <code key={line} class="sample">
                  {line}
                </code>
              ))}
            </span>
            <Ago us={one.since_us} />
            {mayAct.value && one.state === "firing" && !one.quiet && <Button onClick={() => confirm(silence(one))}>Silence…</Button>}
          </article>
        ))}
      </Card>
      <Silences turn={turn} />
      <Rules alerts={all} turn={turn} />
    </div>
  );
}

function silence(one: Alert) {
  const matchers = [`rule="${one.rule}"`, ...Object.entries(one.labels).map(([name, value]) => `${name}="${value.replaceAll('"', '\\"')}"`)].join(", ");
  return {
    title: `Silence ${one.rule}${one.labels["flow"] ? ` of ${one.labels["flow"]}` : ""}?`,
    happens: sentences(["For one hour nobody is told of it. It goes on being looked at, and is shown here."]),
    verb: "Silence",
    why: "wanted" as const,
    done: "Silenced for an hour",
    act: (why: string) => wish("/v1/silences", { matchers, for: "1h", why }),
  };
}

function Silences({ turn }: { turn: number }) {
  const found = useAsked(() => get<{ silences: { id: string; matchers: string; until_us: number; who: string; why: string }[] }>("/v1/silences"), [turn, beat.value]);
  if (!found.value?.silences.length) return null;
  return (
    <Card title="Silences">
      {found.value.silences.map((one) => (
        <article class="alert" key={one.id}>
          <span>
            <code>{one.matchers}</code>
          </span>
          <span>
            {one.who}: {one.why}
          </span>
          <span class="quiet">
            until <Time us={one.until_us} />
          </span>
          {mayAct.value && (
            <Button
              onClick={() =>
                confirm({
                  title: "End this silence?",
                  happens: sentences(["Alerts that match it are told again from now on."]),
                  verb: "End it",
                  done: "The silence is over",
                  act: () => wish(path("/v1/silences/{id}/end", { id: one.id })),
                })
              }
            >
              End…
            </Button>
          )}
        </article>
      ))}
    </Card>
  );
}
