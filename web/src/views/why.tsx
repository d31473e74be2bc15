// Why is this row here? Row of a table -> epoch -> ranges -> the rows that were read -> version.

import { useState } from "preact/hooks";
import { get, post } from "../api";
import { count, id, value } from "../format";
import type { Row, Table } from "../model";
import { note, place } from "../route";
import { Button, Card, Code, Empty, Pill, Trouble, useAsked } from "../ui/parts";
import { Rows } from "../ui/rows";

interface Traced {
  row: Row;
  epoch: number | null;
  exact: boolean;
  told: string;
}

interface Found extends Table {
  rows: Traced[];
}

export interface Input {
  version: string;
  epoch: number;
  sources: Record<
    string,
    {
      start: unknown;
      end: unknown;
      there: boolean;
      message?: string;
      rows?: number;
      matched_on?: string[];
      matching?: number;
      shown?: { partition: string; row: Row }[];
    }
  >;
}

export function Why() {
  const query = place.value.query;
  const [table, setTable] = useState(query.get("table") ?? "");
  const [where, setWhere] = useState(query.get("where") ?? "");
  const [found, setFound] = useState<Found | null>(null);
  const [chosen, setChosen] = useState<Traced | null>(null);
  const [error, setError] = useState<unknown>(null);
  const tables = useAsked(() => get<{ tables: Table[] }>("/v1/tables"), []);
  const name = table || tables.value?.tables[0]?.name || "";
  const look = async (event: Event) => {
    event.preventDefault();
    setError(null);
    setChosen(null);
    note({ table: name, where });
    try {
      const answer = await post<Found>("/v1/why", { table: name, where: conditions(where) });
      setFound(answer);
      if (answer.rows.length === 1) setChosen(answer.rows[0] ?? null);
    } catch (problem) {
      setFound(null);
      setError(problem);
    }
  };
  return (
    <div class="why">
      <div class="title">
        <div>
          <p class="crumbs">
            <a href="/ledger">Ledger</a>
          </p>
          <h1>Why this row?</h1>
          <p class="lead">From a row of a table back to the epoch that wrote it, the input of that epoch, and the version that ran it.</p>
        </div>
      </div>
      <form class="card inline" onSubmit={look}>
        <label>
          Table
          <select value={name} onChange={(event) => setTable(event.currentTarget.value)}>
            {tables.value?.tables.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </label>
        <label class="wide">
          Where (column = value, with commas between; empty: the newest rows)
          <input name="where" placeholder="country = NL, orders = 12" value={where} onInput={(event) => setWhere(event.currentTarget.value)} />
        </label>
        <Button type="submit" kind="main" disabled={!name}>
          Find
        </Button>
      </form>
      {(tables.error ?? error) !== null && <Trouble error={tables.error ?? error} />}
      {found && found.rows.length === 0 && <Empty>No row of {found.name} reads so.</Empty>}
      {found && found.rows.length > 0 && <Choice found={found} chosen={chosen} choose={setChosen} />}
      {found && chosen && <Chain found={found} traced={chosen} />}
    </div>
  );
}

function Choice({ found, chosen, choose }: { found: Found; chosen: Traced | null; choose: (one: Traced) => void }) {
  const columns = Object.keys(found.rows[0]?.row ?? {});
  return (
    <Card title={`Rows of ${found.name}`} more={<span class="quiet">{found.place}</span>}>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Rows of ${found.name}`}>
        <table class="data">
          <thead>
            <tr>
              <th>Epoch</th>
              {columns.map((name) => (
                <th key={name}>{name}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {found.rows.map((one, at) => (
              <tr key={at} class={one === chosen ? "chosen" : ""}>
                <td>
                  <button type="button" class="chip" aria-pressed={one === chosen} onClick={() => choose(one)}>
                    {one.epoch === null ? "not known" : `${one.exact ? "" : "≤ "}${count(one.epoch)}`}
                  </button>
                </td>
                {columns.map((name) => (
                  <td key={name}>{value(one.row[name])}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function Chain({ found, traced }: { found: Found; traced: Traced }) {
  const epoch = traced.epoch;
  return (
    <ol class="chain">
      <li>
        <h3>The row</h3>
        <Rows rows={[traced.row]} label="The row" />
        <p class="quiet">
          in {found.name} ({found.kind}), written by step {found.step || "unknown"} of <a href={`/flows/${encodeURIComponent(found.flow)}`}>{found.flow || "no flow that is known"}</a>
        </p>
      </li>
      <li>
        <h3>
          {epoch === null ? (
            "Its epoch is not known"
          ) : (
            <>
              Epoch <a href={`/ledger/${encodeURIComponent(found.flow)}/${epoch}`}>{count(epoch)}</a> {!traced.exact && <Pill tone="warn">or one before it</Pill>}
            </>
          )}
        </h3>
        <p class="quiet">{traced.told}.</p>
      </li>
      {epoch !== null && <InputOf flow={found.flow} epoch={epoch} row={traced.row} />}
    </ol>
  );
}

function InputOf({ flow, epoch, row }: { flow: string; epoch: number; row: Row }) {
  const match = Object.fromEntries(Object.entries(row).filter(([, one]) => typeof one === "string" || typeof one === "number").map(([name, one]) => [name, String(one)]));
  const found = useAsked(() => post<Input>("/v1/why/input", { flow, epoch, match, limit: 50 }), [flow, epoch, JSON.stringify(match)]);
  return (
    <>
      <li>
        <h3>What that epoch read</h3>
        {found.error !== null ? <Trouble error={found.error} /> : found.value ? <InputRows input={found.value} /> : <p class="empty">The sources are asked for the rows again…</p>}
      </li>
      {found.value && (
        <li>
          <h3>
            The version that ran it: <code>{id(found.value.version)}</code>
          </h3>
          <p class="quiet">
            What a step remembers from earlier epochs has its part in a row as well: of an aggregate, this epoch is the last that changed it. <a href={`/flows/${encodeURIComponent(flow)}#deployments`}>Changes of {flow}</a>
          </p>
        </li>
      )}
    </>
  );
}

export function InputRows({ input }: { input: Input }) {
  return (
    <>
      {Object.entries(input.sources).map(([source, found]) => (
        <div key={source} class="source">
          <h4>
            {source} <span class="quiet">{found.there ? `${count(found.rows ?? 0)} rows` : "not there"}</span>
          </h4>
          <Code text={`from ${JSON.stringify(found.start)}\nto   ${JSON.stringify(found.end)}`} label={`Range of ${source}`} />
          {!found.there && <p class="trouble">{found.message}</p>}
          {found.matched_on && found.matched_on.length > 0 && (
            <p class="hint">
              {count(found.matching ?? 0)} of them have the same {found.matched_on.join(", ")} as the row.
            </p>
          )}
          {found.shown && found.shown.length > 0 && <Rows rows={found.shown.map((one) => one.row)} label={`Rows of ${source}`} />}
          {found.shown && (found.matching ?? 0) > found.shown.length && <p class="hint">The first {count(found.shown.length)} are shown.</p>}
        </div>
      ))}
    </>
  );
}

function conditions(text: string): Record<string, string> {
  const parts = text.split(/,|\band\b/i).map((part) => part.split("="));
  return Object.fromEntries(parts.filter((part) => part.length === 2).map(([name, one]) => [(name ?? "").trim(), (one ?? "").trim().replace(/^['"]|['"]$/g, "")]));
}
