// All dashboards of the environment, by what they are about; and a new one.

import { useState } from "preact/hooks";
import { get, put, path } from "../api";
import type { Dashboard } from "../model";
import { go } from "../route";
import { mayAct, session } from "../session";
import { sorted } from "../live";
import { Button, Card, Empty, Trouble, useAsked } from "../ui/parts";
import { say } from "../ui/dialog";

const SCOPES = ["project", "team", "flow"] as const;

export function Dashboards() {
  const found = useAsked(() => get<{ dashboards: Dashboard[] }>("/v1/dashboards"), []);
  const all = found.value?.dashboards ?? [];
  return (
    <div>
      <div class="title">
        <div>
          <h1>Dashboards</h1>
          <p class="lead">Made of any metric, query or log filter, for a flow, a team or the project. Each has an address that can be shared.</p>
        </div>
      </div>
      {found.error !== null && <Trouble error={found.error} />}
      {mayAct.value && <New taken={all.map((one) => one.id)} />}
      {found.value && all.length === 0 && <Empty>None was made yet.</Empty>}
      <div class="boards">
        {SCOPES.map((scope) => {
          const of = all.filter((one) => one.scope === scope);
          return of.length ? (
            <Card key={scope} title={`By ${scope}`}>
              <ul>
                {of.map((one) => (
                  <li key={one.id}>
                    <a href={`/dashboards/${one.id}`}>{one.title}</a> <span class="quiet">{[one.about, `${one.panels.length} panels`, one.who].filter(Boolean).join(" · ")}</span>
                  </li>
                ))}
              </ul>
            </Card>
          ) : null;
        })}
      </div>
    </div>
  );
}

function New({ taken }: { taken: string[] }) {
  const [title, setTitle] = useState("");
  const [scope, setScope] = useState<Dashboard["scope"]>("flow");
  const [about, setAbout] = useState("");
  const [error, setError] = useState<unknown>(null);
  const choices = scope === "flow" ? sorted.value.map((one) => one.flow) : scope === "team" ? [...new Set(sorted.value.map((one) => one.owner).filter(Boolean))] : [session.value?.project ?? ""];
  const chosen = choices.includes(about) ? about : (choices[0] ?? "");
  const make = async (event: Event) => {
    event.preventDefault();
    const id = free(title, taken);
    try {
      await put(path("/v1/dashboards/{id}", { id }), { title: title.trim(), scope, about: chosen, range: "1h", panels: first(scope, chosen), who: session.value?.who ?? "" });
      say("Kept");
      go(`/dashboards/${id}?edit=1`);
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <form class="card inline" onSubmit={make}>
      <label>
        A new dashboard
        <input name="title" required maxLength={100} placeholder="Its title" value={title} onInput={(event) => setTitle(event.currentTarget.value)} />
      </label>
      <label>
        for
        <select value={scope} onChange={(event) => setScope(event.currentTarget.value as Dashboard["scope"])}>
          <option value="flow">a flow</option>
          <option value="team">a team</option>
          <option value="project">the project</option>
        </select>
      </label>
      <label>
        which
        <select value={chosen} onChange={(event) => setAbout(event.currentTarget.value)}>
          {choices.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      <Button type="submit" kind="main" disabled={!title.trim()}>
        Make it
      </Button>
      {error !== null && <Trouble error={error} />}
    </form>
  );
}

/** Something to begin with, so that a new dashboard is not an empty page. */
function first(scope: Dashboard["scope"], about: string): Dashboard["panels"] {
  const where = scope === "flow" ? ` where flow = '${about.replaceAll("'", "''")}'` : "";
  const empty = { metric: "", function: "last", flow: "", wide: false };
  return [
    { ...empty, title: "Rows in", kind: "metric", metric: "penstock_records_in_total", function: "rate", query: "", view: "line" },
    {
      ...empty,
      title: "Epochs by version",
      kind: "sql",
      query: `select version, count(*) as epochs from epochs${where} group by version order by epochs desc`,
      view: "bar",
    },
  ];
}

function free(title: string, taken: string[]): string {
  const plain = title.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 48) || "dashboard";
  let id = plain;
  for (let number = 2; taken.includes(id); number++) id = `${plain}-${number}`;
  return id;
}
