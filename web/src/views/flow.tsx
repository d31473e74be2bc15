// One flow on one page: what it does in a sentence, its graph, its charts, its errors, its letters, its changes.

import { useEffect, useState } from "preact/hooks";
import { get, path } from "../api";
import { count, id } from "../format";
import { beat, flows } from "../live";
import type { Flow, Graph, History, LetterGroup } from "../model";
import { marked, rangeName, RANGES, setRange } from "../range";
import { note, place } from "../route";
import { FlowGraph, type StepFigures } from "../ui/graph";
import { percent, shareWords, stepShares, waitWords, type StepShares } from "../ui/shares";
import { Ago, Card, Code, Empty, Freshness, Missing, StatePill, Trouble, useAsked, useTick } from "../ui/parts";
import { Refused } from "../api";
import { sentence } from "../words";
import { Actions } from "./actions";
import { Charts } from "./charts";
import { Deployments } from "./deployments";
import { Errors } from "./errors";
import { Events } from "./events";
import { Letters } from "./letters";
import { Undo } from "./undo";

const SECTIONS = [
  ["charts", "Charts"],
  ["errors", "Errors"],
  ["letters", "Dead letters"],
  ["deployments", "Changes"],
  ["undo", "Undo"],
  ["events", "Events"],
] as const;

export function FlowView({ name }: { name: string }) {
  const flow = flows.value?.get(name);
  if (flows.value && !flow)
    return (
      <Empty>
        There is no flow {name} here. <a href="/">All flows</a>
      </Empty>
    );
  return flow ? <Loaded flow={flow} /> : <p class="loading">…</p>;
}

function Loaded({ flow }: { flow: Flow }) {
  const name = flow.flow;
  const step = place.value.query.get("step") ?? "";
  const turn = useTick(5000);
  const graph = useAsked(() => get<Graph>(path("/v1/flows/{name}/graph", { name })), [name, flow.version]);
  const history = useAsked(() => get<History>(path("/v1/flows/{name}/history", { name })), [name, turn]);
  const sampled = useTick(10_000);
  const shares = useAsked(() => stepShares(name), [name, sampled]);
  const groups = useAsked(
    () => get<{ count: number; groups: LetterGroup[] }>(path("/v1/flows/{name}/dead-letters/groups", { name })),
    [name, flow.dead_letters, beat.value],
  );
  useEffect(() => () => void (marked.value = null), [name]);
  const choose = (chosen: string) => note({ step: chosen });
  const figures = figuresOf(flow, graph.value, history.value, groups.value?.groups, shares.value);
  const chosen = graph.value?.steps.find((one) => one.name === step);
  return (
    <div class="flow">
      <header class="title">
        <div>
          <h1>
            {name} <StatePill flow={flow} />
          </h1>
          <p class="lead">{sentence(flow)}</p>
          <p class="facts">
            {flow.owner && <span>team {flow.owner}</span>}
            <span>
              version <code title={flow.version}>{id(flow.version) || "none"}</code>
            </span>
            <span>
              epoch <a href={`/ledger/${encodeURIComponent(name)}`}>{flow.epoch === null ? "none" : count(flow.epoch)}</a>, committed <Ago us={flow.committed_us} />
            </span>
            {flow.standbys > 0 && <span>{flow.standbys} {flow.standbys === 1 ? "process follows" : "processes follow"}</span>}
            <span>
              <Freshness flow={flow} />
            </span>
          </p>
          {flow.choices.length > 0 && (
            <p class="choices">
              {flow.choices.map((choice) => (
                <code key={choice}>{choice}</code>
              ))}
            </p>
          )}
        </div>
        <Actions flow={flow} />
      </header>
      <div class="rangebar">
        <nav class="sections" aria-label="Parts of this page">
          {SECTIONS.map(([id, label]) => (
            <a
              key={id}
              href={`#${id}`}
              onClick={(event) => {
                event.preventDefault();
                document.getElementById(id)?.scrollIntoView({ behavior: "smooth", block: "start" });
              }}
            >
              {label}
            </a>
          ))}
        </nav>
        <Chosen step={step} clear={() => choose("")} />
        <RangeSwitch />
      </div>
      <div class="columns">
        <aside>
          <Card title="Steps" class="steps" more={graph.value && <span class="quiet">{graph.value.steps.length}</span>}>
            {graph.value ? (
              <FlowGraph graph={graph.value} figures={figures} chosen={step} choose={choose} />
            ) : graph.error ? (
              <Trouble error={graph.error} />
            ) : (
              <p class="empty">…</p>
            )}
            {history.value && <Load history={history.value} />}
            {chosen && (
              <div class="step">
                <h3>{chosen.name}</h3>
                <p class="quiet">
                  {chosen.kind}
                  {chosen.place ? ` · ${chosen.place}` : ""} · <code>{chosen.location}</code>
                </p>
                {figures[chosen.name]?.shares && (
                  <p>
                    In the last minute: {shareWords(chosen.kind, figures[chosen.name]!.shares!)}
                    {figures[chosen.name]?.waits && `; ${figures[chosen.name]?.waits}`}.
                  </p>
                )}
                <Code text={chosen.source.trim()} label={`Source of ${chosen.name}`} />
                <p class="columnlist">
                  {Object.entries(chosen.columns).map(([column, type]) => (
                    <span key={column}>
                      {column} <em>{type}</em>
                    </span>
                  ))}
                </p>
              </div>
            )}
          </Card>
        </aside>
        <div class="main">
          <Charts flow={flow} history={history.value} error={history.error} step={step} steps={graph.value?.steps ?? []} />
          <Errors flow={name} step={step} />
          <Letters flow={flow} groups={groups.value?.groups ?? null} error={groups.error} step={step} again={groups.again} />
          <Deployments flow={flow} />
          <Undo flow={flow} />
          <Events flow={name} />
        </div>
      </div>
    </div>
  );
}

function Chosen({ step, clear }: { step: string; clear: () => void }) {
  const at = marked.value;
  return (
    <span class="chosen-what">
      {step && (
        <button type="button" class="chip" onClick={clear} aria-label={`Only step ${step}; show all steps`}>
          step {step} <b aria-hidden="true">×</b>
        </button>
      )}
      {at && (
        <button type="button" class="chip" onClick={() => (marked.value = null)} aria-label="Only the marked time; show all of the range">
          {new Date(at.from * 1000).toLocaleTimeString("en-GB")} to {new Date(at.to * 1000).toLocaleTimeString("en-GB")} <b aria-hidden="true">×</b>
        </button>
      )}
    </span>
  );
}

export function RangeSwitch() {
  return (
    <div class="ranges" role="radiogroup" aria-label="Time range">
      {Object.keys(RANGES).map((one) => (
        <button key={one} type="button" role="radio" aria-checked={rangeName.value === one} onClick={() => setRange(one)}>
          {one}
        </button>
      ))}
    </div>
  );
}

/** Where the time of the last minute went, for the flow as a whole; and what the bars of the graph mean. */
function Load({ history }: { history: History }) {
  const mean = (values: number[]) => values.slice(-13, -1).reduce((sum, one) => sum + one, 0) / Math.min(12, values.length);
  const busy = mean(history.busy);
  const blocked = mean(history.blocked);
  const idle = Math.max(0, 1 - busy - blocked);
  return (
    <div class="load" role="img" aria-label={`In the last minute: computing ${percent(busy)}, writing ${percent(blocked)}, idle ${percent(idle)}`}>
      <span class="track">
        <i class="busy" style={{ width: `${100 * busy}%` }} />
        <i class="blocked" style={{ width: `${100 * blocked}%` }} />
      </span>
      <span class="words">
        <span>
          <i class="dot busy" /> computing {percent(busy)}
        </span>
        <span>
          <i class="dot blocked" /> writing {percent(blocked)}
        </span>
        <span>
          <i class="dot idle" /> idle {percent(idle)}
        </span>
      </span>
      <p class="hint">On each step: busy, blocked while its epoch is elsewhere, idle between epochs.</p>
    </div>
  );
}

function figuresOf(
  flow: Flow,
  graph: Graph | null,
  history: History | null,
  groups: LetterGroup[] | undefined,
  shares: Record<string, StepShares> | null,
): Record<string, StepFigures> {
  const found: Record<string, StepFigures> = {};
  const recent = (values: number[]) => values.slice(-13, -1).reduce((sum, one) => sum + one, 0) / 12;
  for (const [name, values] of Object.entries({ ...history?.rows_in, ...history?.rows_out })) found[name] = { rate: recent(values) };
  for (const { name } of graph?.steps ?? []) {
    const waits = waitWords(flow, name);
    found[name] = { ...found[name], ...(shares?.[name] && { shares: shares[name] }), ...(waits && { waits }) };
  }
  for (const group of groups ?? []) {
    const open = (found[group.step]?.dead ?? 0) + group.open;
    if (open) found[group.step] = { ...found[group.step], dead: open };
  }
  return found;
}

/** What a part says that this server has not. */
export function orMissing(error: unknown, what: string) {
  return error instanceof Refused && error.isMissing ? <Missing what={what} /> : <Trouble error={error} />;
}

export function useExpanded(): [ReadonlySet<string>, (key: string) => void] {
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const toggle = (key: string) =>
    setOpen((before) => {
      const next = new Set(before);
      if (!next.delete(key)) next.add(key);
      return next;
    });
  return [open, toggle];
}
