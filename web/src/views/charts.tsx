// Rates, delay and time of epochs over one shared range, below a lane that says which version led.

import { useMemo } from "preact/hooks";
import { get } from "../api";
import { millis, rate, short, span } from "../format";
import type { Flow, History, SeriesAnswer, Step } from "../model";
import { interval, marked, rangeName, rangeSeconds } from "../range";
import { Chart, VersionLane, type Line } from "../ui/chart";
import { Card, Trouble, useAsked, useTick } from "../ui/parts";
import { metricNames } from "./counts";
import { orMissing } from "./flow";

interface Props {
  flow: Flow;
  history: History | null;
  error: unknown;
  step: string;
  steps: Step[];
}

const PALETTE = ["series1", "series2", "series3", "series4", "series5"];

export function Charts(props: Props) {
  const far = rangeSeconds.value > 3600;
  return (
    <Card id="charts" title="Charts" more={<span class="quiet">drag over a chart to look at a part of it</span>}>
      {props.error !== null && !props.history && <Trouble error={props.error} />}
      {far ? <Far flow={props.flow} history={props.history} /> : props.history && <Near {...props} history={props.history} />}
    </Card>
  );
}

function Near({ flow, history, step, steps }: Props & { history: History }) {
  const turn = useTick(30_000);
  const bounds = marked.value;
  const view = useMemo(() => {
    const last = history.times_s.at(-1) ?? 0;
    const from = bounds?.from ?? last - rangeSeconds.value;
    const first = Math.max(0, history.times_s.findIndex((time) => time >= from - history.slice_s));
    const cut = <T,>(values: T[]) => values.slice(first);
    return { from, to: bounds?.to ?? last, times: cut(history.times_s), cut };
  }, [history, bounds, rangeName.value]);
  const lines = useMemo(() => near(history, view.cut, step, steps, flow), [history, view, step]);
  const shared = { times: view.times, lane: history.lane, from: view.from, to: view.to };
  return (
    <>
      <VersionLane lane={history.lane} from={view.from} to={view.to} />
      <div class="charts">
        <Chart title="Rows in" format={rate} lines={lines.input} {...shared} />
        <Chart title="Rows out" format={rate} lines={lines.output} {...shared} />
        {history.delay_s.some((one) => one !== null) ? (
          <Chart title="Delay of results at their commit" format={span} lines={lines.delay} {...shared} />
        ) : (
          <MetricChart title="Freshness" metric="penstock_freshness_seconds" how="max" flow={flow.flow} format={span} turn={turn} />
        )}
        <Chart title="Longest epoch" format={millis} lines={lines.epochs} {...shared} />
        <Chart title="Where the time goes" format={(share) => `${Math.round(share * 100)} %`} max={1} lines={lines.load} {...shared} />
        <Chart title="Rows that went aside" format={short} lines={lines.aside} {...shared} />
      </div>
      {history.since_us > view.from * 1e6 && <p class="hint">This server knows the epochs of this flow from {new Date(history.since_us / 1000).toLocaleTimeString("en-GB")} on.</p>}
    </>
  );
}

function near(history: History, cut: <T>(values: T[]) => T[], step: string, steps: Step[], flow: Flow) {
  const wanted = ends(step, steps);
  const byStep = (values: Record<string, number[]>): Line[] => {
    const names = Object.keys(values).filter((name) => !wanted || wanted.has(name));
    return names.map((name, at) => ({ label: name, colour: PALETTE[at % PALETTE.length] ?? "series1", values: cut(values[name] ?? []), fill: names.length === 1 }));
  };
  const objective: Line[] = flow.objective_s === null ? [] : [{ label: "objective", colour: "bad", values: cut(history.times_s).map(() => flow.objective_s), dash: [4, 4] }];
  return {
    input: byStep(history.rows_in),
    output: byStep(history.rows_out),
    delay: [{ label: "delay", colour: "series2", values: cut(history.delay_s), fill: true }, ...objective],
    epochs: [{ label: "longest", colour: "series3", values: cut(history.longest_ms), fill: true }],
    load: [
      { label: "computing", colour: "series1", values: cut(history.busy), fill: true },
      { label: "writing", colour: "series4", values: cut(history.blocked) },
    ],
    aside: [
      { label: "dead", colour: "bad", values: cut(history.rows_dead) },
      { label: "late", colour: "series4", values: cut(history.rows_late) },
    ],
  };
}

/** The sources before a step and the sinks behind it; all, where none is chosen. */
function ends(step: string, steps: Step[]): Set<string> | null {
  if (!step) return null;
  const found = new Set([step]);
  const up = (name: string) => steps.find((one) => one.name === name)?.inputs.forEach((input) => found.has(input) || (found.add(input), up(input)));
  const down = (name: string) => steps.forEach((one) => one.inputs.includes(name) && !found.has(one.name) && (found.add(one.name), down(one.name)));
  up(step);
  down(step);
  return found;
}

const FAR: { name: string; title: string; function: string; format: (value: number) => string }[] = [
  { name: "penstock_records_in_total", title: "Rows in", function: "rate", format: rate },
  { name: "penstock_records_out_total", title: "Rows out", function: "rate", format: rate },
  { name: "penstock_freshness_seconds", title: "Freshness", function: "max", format: span },
  { name: "penstock_source_backlog_records", title: "Backlog", function: "max", format: short },
];

/** More than an hour: from the metrics that the server keeps. */
function Far({ flow, history }: { flow: Flow; history: History | null }) {
  const turn = useTick(30_000);
  const { start, end } = interval();
  return (
    <>
      {history && <VersionLane lane={history.lane} from={start} to={end} />}
      <div class="charts">
        {FAR.map((one) => (
          <MetricChart key={one.name} title={one.title} metric={one.name} how={one.function} flow={flow.flow} format={one.format} turn={turn} />
        ))}
      </div>
    </>
  );
}

interface MetricProps {
  title: string;
  metric: string;
  how: string;
  flow: string;
  format: (value: number) => string;
  turn: number;
  height?: number;
}

export function MetricChart({ title, metric, how, flow, format, turn, height }: MetricProps) {
  const { start, end } = interval();
  const step_s = Math.max(10, Math.ceil((end - start) / 300 / 10) * 10);
  const found = useAsked(async () => {
    const known = await metricNames();
    if (!known.has(metric)) return { times_us: [], series: [] };
    const span = { start_us: Math.round(start * 1e6), end_us: Math.round(end * 1e6), step: `${step_s}s` };
    return get<SeriesAnswer>("/v1/metrics/series", { name: metric, flow, function: how, ...span });
  }, [metric, how, flow, turn, rangeName.value, marked.value]);
  const drawn = useMemo(() => (found.value ? drawnOf(found.value) : null), [found.value]);
  if (found.error !== null && !drawn)
    return (
      <figure class="chart">
        <figcaption>{title}</figcaption>
        {orMissing(found.error, "The history of metrics")}
      </figure>
    );
  if (drawn && !drawn.lines.length)
    return (
      <figure class="chart">
        <figcaption>{title}</figcaption>
        <p class="empty">No sample of {metric} is kept{flow ? ` of ${flow}` : ""} yet.</p>
      </figure>
    );
  return drawn ? <Chart title={title} times={drawn.times} lines={drawn.lines} format={format} from={start} to={end} height={height} /> : <figure class="chart" />;
}

function drawnOf({ times_us, series }: SeriesAnswer): { times: number[]; lines: Line[] } {
  const lines = series.slice(0, 12).map((one, at): Line => {
    const { env: _, project: __, flow: ___, ...labels } = one.labels;
    return {
      label: Object.values(labels).join(" ") || one.labels["flow"] || "all",
      colour: PALETTE[at % PALETTE.length] ?? "series1",
      values: one.values,
      fill: series.length === 1,
    };
  });
  return { times: times_us.map((time) => time / 1e6), lines };
}
