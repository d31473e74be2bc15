// A time series with uPlot: colours from the style sheet, versions as a lane above, one cursor for all charts of a page.

import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { id, span } from "../format";
import type { Lane } from "../model";
import { marked } from "../range";
import { colour, painted } from "../theme";

export interface Line {
  label: string;
  /** A colour of the style sheet. */
  colour: string;
  values: (number | null)[];
  fill?: boolean;
  dash?: number[];
}

interface Props {
  title: string;
  times: number[];
  lines: Line[];
  format: (value: number) => string;
  lane?: Lane[];
  height?: number;
  max?: number;
  from?: number;
  to?: number;
}

const AXIS = 58;
const PAD = 10;

export function Chart(props: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const shape = props.lines.map((line) => line.label).join("\n");
  useEffect(() => {
    const draw = () => {
      plot.current?.destroy();
      if (box.current) plot.current = new uPlot(options(latest, box.current.clientWidth), data(latest.current), box.current);
    };
    const stop = effect(() => {
      painted.value;
      draw();
    });
    let width = box.current?.clientWidth ?? 0;
    const watch = new ResizeObserver(() => {
      const now = box.current?.clientWidth ?? 0;
      if (now && now !== width) plot.current?.setSize({ width: (width = now), height: latest.current.height ?? 132 });
    });
    if (box.current) watch.observe(box.current);
    return () => {
      stop();
      watch.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data(props)), [props.times, props.lines]);
  return (
    <figure class="chart" role="group" aria-label={`${props.title}. ${summary(props)}`}>
      <figcaption>
        <span>{props.title}</span>
        <Legend {...props} />
      </figcaption>
      <div ref={box} class="plot" />
    </figure>
  );
}

function Legend({ lines, format }: Props) {
  return (
    <span class="legend">
      {lines.map((line) => {
        const last = newest(line.values);
        return (
          <span key={line.label}>
            <i style={{ background: `var(--${line.colour})` }} /> {line.label} {last !== null && <b>{format(last)}</b>}
          </span>
        );
      })}
    </span>
  );
}

function newest(values: (number | null)[]): number | null {
  // The last slice has only just begun.
  for (let at = values.length - 2; at >= 0 && at > values.length - 16; at--) {
    const value = values[at];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

function summary({ lines, format }: Props): string {
  return lines
    .map((line) => {
      const known = line.values.filter((value): value is number => value !== null);
      return known.length ? `${line.label}: between ${format(Math.min(...known))} and ${format(Math.max(...known))}` : `${line.label}: nothing`;
    })
    .join("; ");
}

function data({ times, lines }: Props): uPlot.AlignedData {
  return [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;
}

function options(latest: { current: Props }, width: number): uPlot.Options {
  const props = latest.current;
  const quiet = colour("quiet");
  const grid = { stroke: colour("line"), width: 1 };
  return {
    width,
    height: props.height ?? 132,
    padding: [6, PAD, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "penstock" }, drag: { x: true, y: false, setScale: false }, points: { size: 6 }, y: false },
    scales: {
      x: { range: (_, low, high) => [latest.current.from ?? low, latest.current.to ?? high] },
      y: { range: (_, __, high) => [0, latest.current.max ?? ((high || 0) * 1.12 || 1)] },
    },
    axes: [
      { stroke: quiet, grid: { show: false }, ticks: { show: false }, font: "11px system-ui, sans-serif", size: 22, space: 70, values: hours },
      {
        stroke: quiet,
        grid,
        ticks: { show: false },
        font: "11px system-ui, sans-serif",
        size: AXIS,
        space: 34,
        values: (_, ticks) => ticks.map((tick) => latest.current.format(tick)),
      },
    ],
    series: [
      {},
      ...props.lines.map(
        (line): uPlot.Series => ({
          label: line.label,
          stroke: colour(line.colour),
          width: 1.6,
          fill: line.fill ? colour(`${line.colour}-wash`) : undefined,
          dash: line.dash,
          points: { show: false },
          spanGaps: false,
        }),
      ),
    ],
    hooks: { draw: [(plot) => drawLane(plot, latest.current.lane ?? [])], setSelect: [mark], setCursor: [(plot) => readout(plot, latest.current)] },
  };
}

function hours(_: uPlot, ticks: number[]): string[] {
  const far = ticks.length > 1 && (ticks.at(-1) ?? 0) - (ticks[0] ?? 0) > 36 * 3600;
  return ticks.map((tick) => {
    const date = new Date(tick * 1000);
    return far ? `${date.getMonth() + 1}/${date.getDate()}` : date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  });
}

function mark(plot: uPlot): void {
  if (plot.select.width < 4) return;
  marked.value = { from: plot.posToVal(plot.select.left, "x"), to: plot.posToVal(plot.select.left + plot.select.width, "x") };
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** What the lines are at the cursor, beside it. */
function readout(plot: uPlot, { lines, format, times }: Props): void {
  let tip = plot.over.querySelector<HTMLElement>(".tip");
  const at = plot.cursor.idx;
  if (at === null || at === undefined || (plot.cursor.left ?? -1) < 0) {
    tip?.remove();
    return;
  }
  if (!tip) {
    tip = document.createElement("div");
    tip.className = "tip";
    plot.over.append(tip);
  }
  const when = new Date((times[at] ?? 0) * 1000).toLocaleTimeString("en-GB");
  const told = lines.map((line) => `${line.label} ${line.values[at] === null || line.values[at] === undefined ? "-" : format(line.values[at] as number)}`);
  tip.textContent = [when, ...told].join("\n");
  const left = plot.cursor.left ?? 0;
  tip.style.left = `${left > plot.over.clientWidth / 2 ? left - tip.offsetWidth - 8 : left + 8}px`;
}

function drawLane(plot: uPlot, lane: Lane[]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour("accent");
  ctx.setLineDash([3, 3]);
  ctx.lineWidth = devicePixelRatio;
  for (const one of lane.slice(1)) {
    const x = Math.round(plot.valToPos(one.at_us / 1e6, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

/** Who led from when to when, on the same axis as the charts below it. */
export function VersionLane({ lane, from, to }: { lane: Lane[]; from: number; to: number }) {
  const parts = lane
    .map((one, at) => ({ ...one, begin: Math.max(one.at_us / 1e6, from), end: Math.min((lane[at + 1]?.at_us ?? to * 1e6) / 1e6, to) }))
    .filter((one) => one.end > one.begin);
  return (
    <div class="lane" role="list" aria-label="Versions that led in this time">
      {parts.map((one, at) => (
        <span
          key={`${one.version}${one.generation}`}
          role="listitem"
          class={at % 2 ? "odd" : ""}
          style={{ left: `${((one.begin - from) / (to - from)) * 100}%`, width: `${((one.end - one.begin) / (to - from)) * 100}%` }}
          title={`version ${one.version}, generation ${one.generation}, from epoch ${one.epoch} on, for ${span(one.end - one.begin)}`}
        >
          {id(one.version)} <em>gen {one.generation}</em>
        </span>
      ))}
    </div>
  );
}
