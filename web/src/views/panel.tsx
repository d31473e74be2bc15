// One panel of a dashboard: the history of a metric, a query, or lines of the log.

import { get } from "../api";
import { count, short, value } from "../format";
import type { Panel, SqlResult } from "../model";
import { Chart } from "../ui/chart";
import { Empty, Trouble, useAsked, useTick } from "../ui/parts";
import { mayAct } from "../session";
import { MetricChart } from "./charts";
import { around } from "./counts";
import { orMissing } from "./flow";
import { LogLines } from "./errors";
import { interval, rangeName } from "../range";
import type { LogEntry } from "../model";

export function PanelBody({ panel, flow }: { panel: Panel; flow: string }) {
  const turn = useTick(15_000);
  if (panel.kind === "metric") return <MetricChart title={panel.title || panel.metric} metric={panel.metric} how={panel.function} flow={panel.flow || flow} format={short} turn={turn} height={180} />;
  if (panel.kind === "sql" && !panel.query.trim()) return <Empty>A query of DuckDB SQL over the tables of the environment, its ledger, logs and metrics.</Empty>;
  if (panel.kind === "logs") return <LogPanel panel={panel} flow={panel.flow || flow} turn={turn} />;
  return <SqlPanel panel={panel} turn={turn} />;
}

function LogPanel({ panel, flow, turn }: { panel: Panel; flow: string; turn: number }) {
  const filter = [flow && `resource.labels.flow="${flow}"`, panel.query].filter(Boolean).join(" AND ");
  const span = interval();
  const found = useAsked(() => get<{ entries: LogEntry[] }>("/v1/logs", { filter, ...around(span.start, span.end), limit: 100 }), [filter, turn, rangeName.value]);
  if (found.error !== null && !found.value) return orMissing(found.error, "The log");
  return found.value ? <LogLines entries={found.value.entries} /> : <p class="empty">…</p>;
}

function SqlPanel({ panel, turn }: { panel: Panel; turn: number }) {
  const found = useAsked(() => get<SqlResult>("/v1/sql", { query: panel.query, limit: 2000 }), [panel.query, turn]);
  if (!mayAct.value) return <Empty>Queries show rows: they are for operators.</Empty>;
  if (found.error !== null && !found.value) return <Trouble error={found.error} />;
  const result = found.value;
  if (!result) return <p class="empty">…</p>;
  if (panel.view === "number") return <p class="figure">{result.rows[0] ? tell(result.rows[0].at(-1)) : "-"}</p>;
  if (panel.view === "bar") return <Bars result={result} />;
  if (panel.view === "line") return <Lines result={result} title={panel.title} />;
  return <SqlTable result={result} />;
}

function tell(one: unknown): string {
  return typeof one === "number" ? (Number.isInteger(one) ? count(one) : short(one)) : value(one);
}

export function SqlTable({ result }: { result: SqlResult }) {
  if (!result.rows.length) return <Empty>No row.</Empty>;
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label="Result of the query">
        <table class="data">
          <thead>
            <tr>
              {result.columns.map((column) => (
                <th key={column.name} title={column.type}>
                  {column.name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {result.rows.slice(0, 500).map((row, at) => (
              <tr key={at}>
                {row.map((one, column) => (
                  <td key={column} class={typeof one === "number" ? "number" : ""}>
                    {value(one)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {(result.truncated || result.rows.length > 500) && <p class="hint">There are more rows than are shown.</p>}
    </>
  );
}

/** First column: what; last one: how much. */
function Bars({ result }: { result: SqlResult }) {
  const rows = result.rows.slice(0, 24).map((row) => ({ name: value(row[0]), size: Number(row.at(-1)) || 0 }));
  const most = Math.max(...rows.map((row) => row.size), 1e-9);
  return (
    <ul class="bars">
      {rows.map((row) => (
        <li key={row.name}>
          <span>{row.name}</span>
          <span class="track" aria-hidden="true">
            <i style={{ width: `${Math.max(0, row.size / most) * 100}%` }} />
          </span>
          <b>{tell(row.size)}</b>
        </li>
      ))}
    </ul>
  );
}

/** First column: a time; each other one that is a number is a line. */
function Lines({ result, title }: { result: SqlResult; title: string }) {
  const rows = result.rows.map((row) => [toSeconds(row[0]), ...row.slice(1)] as const).filter((row) => !Number.isNaN(row[0]));
  rows.sort((one, other) => (one[0] as number) - (other[0] as number));
  const columns = result.columns.map((_, at) => at).filter((at) => at > 0 && rows.some((row) => typeof row[at] === "number"));
  if (!rows.length || !columns.length) return <Empty>A line wants a time in the first column and a number in another.</Empty>;
  const lines = columns.map((at, number) => ({
    label: result.columns[at]?.name ?? "",
    colour: `series${(number % 5) + 1}`,
    values: rows.map((row) => (typeof row[at] === "number" ? (row[at] as number) : null)),
    fill: columns.length === 1,
  }));
  return <Chart title={title} times={rows.map((row) => row[0] as number)} lines={lines} format={short} height={180} />;
}

function toSeconds(one: unknown): number {
  if (typeof one === "number") return one > 1e14 ? one / 1e6 : one > 1e11 ? one / 1e3 : one;
  const text = String(one);
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.replace(" ", "T")}Z`) / 1000;
}
