// The rules of alerts: what each asks, how it stands, and when it would have fired.

import { useState } from "preact/hooks";
import { get, path } from "../api";
import { bytes, plural, short, span } from "../format";
import type { Alert, Backtest, Episode, Rule } from "../model";
import { Card, Code, Empty, Pill, Time, Trouble, useAsked } from "../ui/parts";
import { orMissing, useExpanded } from "./flow";

const SPANS: Record<string, string> = { "1h": "hour", "24h": "24 hours", "7d": "7 days" };
const EPISODES_MOST = 50;

export function Rules({ alerts, turn }: { alerts: Alert[]; turn: number }) {
  const found = useAsked(() => get<{ on: boolean; every_s: number; rules: Rule[] }>("/v1/alerts/rules"), [turn]);
  const [open, toggle] = useExpanded();
  const rules = found.value?.rules ?? [];
  return (
    <Card title="Rules" more={found.value && <span class="quiet">{found.value.on ? `${rules.length}, looked at each ${span(found.value.every_s)}` : "alerts are off"}</span>}>
      {found.error !== null && !found.value && orMissing(found.error, "The list of rules")}
      {found.value && rules.length === 0 && <Empty>There is no rule. [alerts.rule.NAME] in penstock.toml makes one.</Empty>}
      {rules.map((rule) => (
        <article class="rule" key={rule.name} aria-label={rule.name}>
          <button type="button" class="fold" aria-expanded={open.has(rule.name)} onClick={() => toggle(rule.name)}>
            <Standing alerts={alerts.filter((one) => one.rule === rule.name)} />
            <span>
              <span>
                <strong>{rule.name}</strong> <span class="quiet">{rule.severity}</span>
              </span>
              <span>{named(rule.summary)}</span>
            </span>
          </button>
          {open.has(rule.name) && <Details rule={rule} />}
        </article>
      ))}
    </Card>
  );
}

function Standing({ alerts }: { alerts: Alert[] }) {
  const firing = alerts.filter((one) => one.state === "firing").length;
  if (firing) return <Pill tone="bad" sign="M8 3v6.5M8 12.6v.1">{firing > 1 ? `${firing} firing` : "firing"}</Pill>;
  if (alerts.some((one) => one.state === "pending")) return <Pill tone="warn" sign="M8 3v5l3 3">pending</Pill>;
  return <Pill tone="idle">quiet</Pill>;
}

/** When a rule fires, in a sentence; the number of a metric's threshold is in its query. */
function when(rule: Rule): string {
  const held = rule.for_s ? ` for ${span(rule.for_s)}` : " at one look";
  const asks = {
    metric: `Fires where this PromQL has a value${held}`,
    "log-entry": "Fires for an entry of the log that matches this",
    "log-rate": `Fires with more than ${short(rule.above)} such entries within ${span(rule.over_s)}`,
    sql: `Fires for each row of this query${held}`,
  }[rule.basis];
  return `${asks}${rule.keep_s ? `, and goes on for ${span(rule.keep_s)} after it held last` : ""}.`;
}

function Details({ rule }: { rule: Rule }) {
  return (
    <div class="details">
      <p>{when(rule)}</p>
      <Code text={rule.query} label={`What ${rule.name} asks`} />
      {rule.target && (
        <p class="quiet">
          Its target: <code>{rule.target}</code>
        </p>
      )}
      {rule.basis === "metric" ? <Past rule={rule} /> : <p class="hint">Only metrics are kept as they were, so nobody can say when a rule that asks logs or tables would have fired.</p>}
    </div>
  );
}

function Past({ rule }: { rule: Rule }) {
  const [over, setOver] = useState("7d");
  const found = useAsked(() => get<Backtest>(path("/v1/alerts/rules/{rule}/backtest", { rule: rule.name }), { over }), [rule.name, over]);
  const past = found.value;
  return (
    <section class="past" aria-label={`When ${rule.name} would have fired`}>
      <div class="ranges" role="radiogroup" aria-label="How far back">
        {Object.keys(SPANS).map((one) => (
          <button key={one} type="button" role="radio" aria-checked={over === one} onClick={() => setOver(one)}>
            {one}
          </button>
        ))}
      </div>
      {found.error !== null && <Trouble error={found.error} />}
      {!past && found.error === null && <p class="empty">…</p>}
      {past && (
        <>
          <p>
            It would have fired {plural(past.episodes.length, "time")} in the last {SPANS[over]}.
            {past.known_us === null ? " No sample is kept yet." : past.known_us > past.start_us && <> Samples are kept since <Time us={past.known_us} />.</>}
          </p>
          <Strip past={past} />
          <ul class="episodes">
            {past.episodes
              .slice(-EPISODES_MOST)
              .reverse()
              .map((one) => (
                <li key={`${one.fired_us} ${JSON.stringify(one.labels)}`}>
                  <Time us={one.fired_us} />
                  <span>{one.end_us === null ? "still" : `for ${span((one.end_us - one.fired_us) / 1e6)}`}</span>
                  <span>at worst {told(one.worst, rule.unit)}</span>
                  <span class="quiet">{names(one)}</span>
                </li>
              ))}
          </ul>
          {past.episodes.length > EPISODES_MOST && <p class="hint">The newest {EPISODES_MOST} of {past.episodes.length}.</p>}
        </>
      )}
    </section>
  );
}

/** The time axis: what is before the first sample is hatched, for nobody knows it. */
function Strip({ past }: { past: Backtest }) {
  const whole = past.end_us - past.start_us;
  const at = (us: number) => `${(100 * Math.min(1, Math.max(0, (us - past.start_us) / whole))).toFixed(3)}%`;
  const part = (from: number, to: number) => ({ left: `min(100% - 3px, ${at(from)})`, width: `max(3px, ${(100 * (to - from)) / whole}%)` });
  const unknown = past.known_us === null ? past.end_us : past.known_us;
  return (
    <div class="strip">
      <div class="axis" role="img" aria-label={`Time axis with ${plural(past.episodes.length, "time")} at which it would have fired`}>
        {unknown > past.start_us && <i class="unknown" style={part(past.start_us, unknown)} />}
        {past.episodes.map((one) => (
          <i key={`${one.fired_us} ${JSON.stringify(one.labels)}`} class="fired" style={part(one.fired_us, one.end_us ?? past.end_us)} />
        ))}
      </div>
      <div class="ends">
        <Time us={past.start_us} />
        <span>now</span>
      </div>
    </div>
  );
}

function told(value: number, unit: string): string {
  if (unit === "s") return span(value);
  if (unit === "bytes") return bytes(value);
  if (unit === "share") return `${short(100 * value)} %`;
  return `${short(value)}${unit ? ` ${unit}` : ""}`;
}

/** Which series it was; what is the same for all of this page is left out. */
function names(one: Episode): string {
  return Object.entries(one.labels)
    .filter(([name]) => name !== "project" && name !== "env")
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
}

/** `{flow} is held`: what stands for a value is set apart. */
function named(summary: string) {
  return summary.split(/\{(\w+)\}/).map((part, at) => (at % 2 ? <i key={at}>{part}</i> : part));
}
