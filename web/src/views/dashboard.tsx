// One dashboard: look at it, or change it in place.

import { useEffect, useState } from "preact/hooks";
import { get, path, put, remove } from "../api";
import type { Dashboard, Panel } from "../model";
import { go, note, place } from "../route";
import { mayAct, session } from "../session";
import { confirm, say } from "../ui/dialog";
import { Button, Trouble, useAsked } from "../ui/parts";
import { sentences } from "./actions";
import { RangeSwitch } from "./flow";
import { PanelBody } from "./panel";

const FRESH: Panel = { title: "New panel", kind: "sql", metric: "", function: "last", flow: "", query: "", view: "table", wide: false };

export function DashboardView({ id }: { id: string }) {
  const where = path("/v1/dashboards/{id}", { id });
  const found = useAsked(() => get<{ dashboard: Dashboard }>(where), [id]);
  const [board, setBoard] = useState<Dashboard | null>(null);
  const [error, setError] = useState<unknown>(null);
  const editing = place.value.query.get("edit") === "1" && mayAct.value;
  useEffect(() => setBoard(found.value?.dashboard ?? null), [found.value]);
  if (found.error !== null) return <Trouble error={found.error} />;
  if (!board) return <p class="loading">…</p>;
  const change = (at: number, values: Partial<Panel>) => setBoard({ ...board, panels: board.panels.map((one, number) => (number === at ? { ...one, ...values } : one)) });
  const move = (at: number, by: number) => {
    const panels = [...board.panels];
    const [one] = panels.splice(at, 1);
    if (one) panels.splice(at + by, 0, one);
    setBoard({ ...board, panels });
  };
  const keep = async () => {
    const { title, scope, about, range, panels } = board;
    try {
      await put(where, { title, scope, about, range, panels, who: session.value?.who ?? "" });
      setError(null);
      say("Kept");
      note({ edit: "" });
    } catch (problem) {
      setError(problem);
    }
  };
  const share = async () => {
    await navigator.clipboard.writeText(location.href.replace(/[?&]edit=1/, "")).then(
      () => say("The address is in the clipboard"),
      () => say(location.href),
    );
  };
  return (
    <div class="dashboard">
      <div class="title">
        <div>
          <p class="crumbs">
            <a href="/dashboards">Dashboards</a>
          </p>
          {editing ? <input class="titlefield" aria-label="Title" value={board.title} onInput={(event) => setBoard({ ...board, title: event.currentTarget.value })} /> : <h1>{board.title}</h1>}
          <p class="lead">
            {board.scope} {board.about}
          </p>
        </div>
        <div class="tools">
          <RangeSwitch />
          <Button onClick={() => void share()}>Share</Button>
          {mayAct.value &&
            (editing ? (
              <>
                <Button onClick={() => setBoard({ ...board, panels: [...board.panels, { ...FRESH }] })}>Add a panel</Button>
                <Button kind="main" onClick={() => void keep()}>
                  Save
                </Button>
              </>
            ) : (
              <>
                <Button onClick={() => note({ edit: "1" })}>Change</Button>
                <Button kind="quiet" onClick={() => confirm(removal(board))}>
                  Remove…
                </Button>
              </>
            ))}
        </div>
      </div>
      {error !== null && <Trouble error={error} />}
      <div class="panels">
        {board.panels.map((panel, at) => (
          <section key={at} class={`card panel ${panel.wide ? "wide" : ""}`} aria-label={panel.title}>
            {panel.kind !== "metric" && !editing && panel.title && <h2>{panel.title}</h2>}
            {editing && (
              <Editor
                panel={panel}
                change={(values) => change(at, values)}
                drop={() => setBoard({ ...board, panels: board.panels.filter((_, number) => number !== at) })}
                earlier={at > 0 ? () => move(at, -1) : undefined}
              />
            )}
            <PanelBody panel={panel} flow={board.scope === "flow" ? board.about : ""} />
          </section>
        ))}
      </div>
    </div>
  );
}

function removal(board: Dashboard) {
  return {
    title: `Remove ${board.title}?`,
    happens: sentences(["Its address will lead nowhere. What it showed is not touched."]),
    verb: "Remove",
    danger: true,
    done: "Removed",
    act: async () => {
      await remove(path("/v1/dashboards/{id}", { id: board.id }));
      go("/dashboards");
    },
  };
}

interface EditorProps {
  panel: Panel;
  change: (values: Partial<Panel>) => void;
  drop: () => void;
  earlier: (() => void) | undefined;
}

/** What is typed is asked for when the field is left, not at each letter. */
function Editor({ panel, change, drop, earlier }: EditorProps) {
  const names = useAsked(() => get<{ names: (string | { name: string })[] }>("/v1/metrics/names"), []);
  const known = (names.value?.names ?? []).map((one) => (typeof one === "string" ? one : one.name));
  return (
    <div class="editor">
      <label>
        Title
        <input value={panel.title} onChange={(event) => change({ title: event.currentTarget.value })} />
      </label>
      <label>
        Shows
        <select value={panel.kind} onChange={(event) => change({ kind: event.currentTarget.value as Panel["kind"] })}>
          <option value="metric">a metric</option>
          <option value="sql">a query</option>
          <option value="logs">log lines</option>
        </select>
      </label>
      {panel.kind === "metric" && (
        <>
          <label>
            Metric
            <input list="metrics" value={panel.metric} onChange={(event) => change({ metric: event.currentTarget.value })} />
            <datalist id="metrics">
              {known.map((one) => (
                <option key={one} value={one} />
              ))}
            </datalist>
          </label>
          <label>
            As
            <select value={panel.function} onChange={(event) => change({ function: event.currentTarget.value })}>
              {["last", "rate", "increase", "avg", "max"].map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        </>
      )}
      {panel.kind === "sql" && (
        <label>
          As
          <select value={panel.view} onChange={(event) => change({ view: event.currentTarget.value as Panel["view"] })}>
            {["table", "line", "bar", "number"].map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      )}
      {panel.kind !== "metric" && (
        <label class="wide">
          {panel.kind === "sql" ? "Query (DuckDB SQL)" : "Filter"}
          <Draft text={panel.query} keep={(query) => change({ query })} />
        </label>
      )}
      <p class="deeds">
        <label class="check">
          <input type="checkbox" checked={panel.wide} onChange={(event) => change({ wide: event.currentTarget.checked })} /> wide
        </label>
        {earlier && <Button onClick={earlier}>Earlier</Button>}
        <Button kind="quiet" onClick={drop}>
          Take out
        </Button>
      </p>
    </div>
  );
}

/** What is typed stays while the page around it changes; it is taken when the field is left. */
function Draft({ text, keep }: { text: string; keep: (text: string) => void }) {
  const [typed, setTyped] = useState(text);
  useEffect(() => setTyped(text), [text]);
  return <textarea rows={3} spellcheck={false} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} onBlur={() => typed !== text && keep(typed)} />;
}
