// All flows at once: what wants eyes comes first, the rest is calm.

import { useMemo, useState } from "preact/hooks";
import { count, plural, rate, id } from "../format";
import { sorted, flows as known } from "../live";
import type { Flow } from "../model";
import { note, place } from "../route";
import { session } from "../session";
import { Freshness, StatePill, useAsked, useTick } from "../ui/parts";
import { Spark } from "../ui/spark";
import { stateOf, urgency } from "../words";
import { errorsByFlow, firingByFlow } from "./counts";

const GROUPS: Record<string, (flow: Flow) => string> = {
  none: () => "",
  team: (flow) => flow.owner || "no owner",
  state: (flow) => stateOf(flow).word,
};

export function Overview() {
  const [text, setText] = useState(place.value.query.get("q") ?? "");
  const by = place.value.query.get("by") ?? "team";
  const turn = useTick(30_000);
  const errors = useAsked(errorsByFlow, [turn]);
  const alerts = useAsked(firingByFlow, [turn]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const all = sorted.value;
  const shown = all.filter((flow) => {
    const said = `${flow.flow} ${flow.owner} ${stateOf(flow).word} ${flow.version} ${flow.note}`.toLowerCase();
    return words.every((word) => said.includes(word));
  });
  const groups = useMemo(() => grouped(shown, GROUPS[by] ?? GROUPS["none"]!), [shown, by]);
  const type = (value: string) => {
    setText(value);
    note({ q: value });
  };
  return (
    <div class="overview">
      <div class="title">
        <div>
          <h1>{session.value?.project || "Flows"}</h1>
          <p class="lead">{summary(all)}</p>
        </div>
        <div class="tools">
          <input type="search" placeholder="Filter: name, team, state" aria-label="Filter flows" value={text} onInput={(event) => type(event.currentTarget.value)} />
          <select aria-label="Group by" value={by} onChange={(event) => note({ by: event.currentTarget.value })}>
            <option value="team">by team</option>
            <option value="state">by state</option>
            <option value="none">all together</option>
          </select>
        </div>
      </div>
      {known.value === null ? (
        <p class="empty">…</p>
      ) : all.length === 0 ? (
        <p class="empty">
          No flow has run in {session.value?.env} yet. Let one run: <code>penstock start FLOW</code>
        </p>
      ) : shown.length === 0 ? (
        <p class="empty">No flow is called so.</p>
      ) : (
        <div class="card flush">
          <table class="flows">
            <thead>
              <tr>
                <th>Flow</th>
                <th>State</th>
                <th>Freshness</th>
                <th class="number">In</th>
                <th class="number">Out</th>
                <th class="number">Errors 24 h</th>
                <th class="number">Dead letters</th>
                <th class="number">Alerts</th>
                <th>Last 30 min</th>
              </tr>
            </thead>
            {groups.map(([name, flows]) => (
              <tbody key={name}>
                {name && (
                  <tr class="group">
                    <th colSpan={9} scope="rowgroup">
                      {name} <span class="quiet">{plural(flows.length, "flow")}</span>
                    </th>
                  </tr>
                )}
                {flows.map((flow) => (
                  <Line key={flow.flow} flow={flow} errors={errors.value?.get(flow.flow) ?? (errors.value ? 0 : null)} alerts={alerts.value?.get(flow.flow) ?? (alerts.value ? 0 : null)} />
                ))}
              </tbody>
            ))}
          </table>
        </div>
      )}
    </div>
  );
}

function Line({ flow, errors, alerts }: { flow: Flow; errors: number | null; alerts: number | null }) {
  return (
    <tr class={urgency(flow) >= 3 ? "urgent" : ""}>
      <td class="name">
        <a href={`/flows/${encodeURIComponent(flow.flow)}`}>{flow.flow}</a>
        <span class="quiet">{flow.note || `${flow.version ? id(flow.version) : "no version"}${flow.deployment ? " · deployment under way" : ""}`}</span>
      </td>
      <td data-label="State">
        <StatePill flow={flow} />
      </td>
      <td data-label="Freshness">
        <Freshness flow={flow} />
      </td>
      <td class="number" data-label="In">
        {rate(flow.rows_in_per_s)}
      </td>
      <td class="number" data-label="Out">
        {rate(flow.rows_out_per_s)}
      </td>
      <td class={`number ${errors ? "some" : ""}`} data-label="Errors 24 h">
        {errors === null ? <span class="quiet">-</span> : count(errors)}
      </td>
      <td class={`number ${flow.dead_letters ? "some" : ""}`} data-label="Dead letters">
        {count(flow.dead_letters)}
      </td>
      <td class={`number ${alerts ? "some" : ""}`} data-label="Alerts">
        {alerts === null ? <span class="quiet">-</span> : count(alerts)}
      </td>
      <td class="last">
        <Spark values={flow.spark} label={`Rows a second into ${flow.flow} in the last half hour`} />
      </td>
    </tr>
  );
}

function grouped(flows: Flow[], key: (flow: Flow) => string): [string, Flow[]][] {
  const found = new Map<string, Flow[]>();
  for (const flow of flows) found.set(key(flow), [...(found.get(key(flow)) ?? []), flow]);
  for (const group of found.values()) group.sort((one, other) => urgency(other) - urgency(one));
  const most = (group: Flow[]) => Math.max(...group.map(urgency));
  return [...found].sort(([one, a], [other, b]) => most(b) - most(a) || one.localeCompare(other));
}

function summary(flows: Flow[]): string {
  const counts = new Map<string, number>();
  for (const flow of flows) counts.set(stateOf(flow).word, (counts.get(stateOf(flow).word) ?? 0) + 1);
  const late = flows.filter((flow) => urgency(flow) === 3).length;
  const states = [...counts].sort((one, other) => other[1] - one[1]).map(([word, number]) => `${count(number)} ${word}`);
  const said = [`${plural(flows.length, "flow")} in ${session.value?.env ?? ""}: ${states.join(", ") || "none"}.`];
  if (late) said.push(`${plural(late, "flow")} later than promised.`);
  return said.join(" ");
}
