// The graph of a flow: the server placed the boxes once; here they are drawn, and say how busy each is.

import { useEffect, useRef, useState } from "preact/hooks";
import { memo } from "./memo";
import type { Graph, Step } from "../model";
import { rate } from "../format";
import { shareWords, type StepShares } from "./shares";

export interface StepFigures {
  rate?: number;
  dead?: number;
  late?: number;
  shares?: StepShares;
  /** What waits at a read, in words; empty where nothing does. */
  waits?: string;
}

const BOX = 58;
const LAYER = 92;
const MARGIN = 12;
const FAMILY: Record<string, string> = { read: "read", write: "write", expect: "check" };

interface Props {
  graph: Graph;
  figures: Record<string, StepFigures>;
  chosen: string;
  choose: (step: string) => void;
}

export function FlowGraph({ graph, figures, chosen, choose }: Props) {
  const width = graph.width + 2 * MARGIN;
  const height = (graph.layers - 1) * LAYER + BOX + 2 * MARGIN;
  const at = new Map(graph.steps.map((step) => [step.name, step]));
  const large = width > 700;
  const box = useRef<HTMLDivElement>(null);
  const [scale, setScale] = useState(large ? 0.6 : 1);
  // A wide graph begins where its first sources are, not in an empty corner.
  useEffect(() => {
    const first = graph.steps.find((step) => step.layer === 0);
    if (box.current && first) box.current.scrollLeft = (first.x + MARGIN) * scale - box.current.clientWidth / 2;
  }, [graph, scale]);
  const size = large ? { width: `${width * scale}px` } : { minWidth: `${width * 0.7}px` };
  return (
    <>
    {large && (
      <div class="zoom" role="group" aria-label="Size of the graph">
        <button type="button" aria-label="Smaller" onClick={() => setScale(Math.max(0.15, scale / 1.4))}>
          −
        </button>
        <button type="button" aria-label="Larger" onClick={() => setScale(Math.min(1.4, scale * 1.4))}>
          +
        </button>
      </div>
    )}
    <div ref={box} class={`graph ${large ? "large" : ""}`} tabIndex={0} role="group" aria-label={`Graph of ${graph.steps.length} steps`}>
      <svg viewBox={`0 0 ${width} ${height}`} {...(large ? {} : { width })} style={size}>
        <g class="edges">
          {graph.edges.map((edge) => (
            <path key={`${edge.from}\n${edge.to}`} d={way(edge, at)} />
          ))}
        </g>
        {graph.steps.map((step) => (
          <Box key={step.name} step={step} width={graph.box_width} figures={figures[step.name]} chosen={chosen === step.name} choose={choose} />
        ))}
      </svg>
    </div>
    </>
  );
}

function top(layer: number): number {
  return MARGIN + layer * LAYER;
}

function way(edge: Graph["edges"][number], at: Map<string, Step>): string {
  const from = at.get(edge.from);
  const to = at.get(edge.to);
  if (!from || !to) return "";
  let x = from.x + MARGIN;
  let y = top(from.layer) + BOX;
  let path = `M${x},${y}`;
  const bend = (nx: number, ny: number) => {
    const middle = (y + ny) / 2;
    path += ` C${x},${middle} ${nx},${middle} ${nx},${ny}`;
    [x, y] = [nx, ny];
  };
  edge.points.forEach((point, offset) => {
    const edgeTop = top(from.layer + offset + 1);
    bend(point + MARGIN, edgeTop);
    path += ` V${edgeTop + BOX}`;
    y = edgeTop + BOX;
  });
  bend(to.x + MARGIN, top(to.layer));
  return path;
}

interface BoxProps {
  step: Step;
  width: number;
  figures: StepFigures | undefined;
  chosen: boolean;
  choose: (step: string) => void;
}

const Box = memo(
  function Box({ step, width, figures, chosen, choose }: BoxProps) {
    const family = FAMILY[step.kind] ?? (step.stateful ? "state" : "row");
    const shown = cut(step.name, 20);
    const seen = [shown, figures?.waits ? `${cut(step.kind, 8)} · ${figures.waits}` : cut(step.kind, 14), figures?.rate === undefined ? "" : rate(figures.rate), figures?.dead ? dead(figures.dead) : ""];
    // The words of the box as they stand, then what they leave out.
    const label = `${seen.filter(Boolean).join(" ")}${shown === step.name ? "" : `, in full ${step.name}`}${figures?.dead ? ", dead letters" : ""}${figures?.shares ? `, ${shareWords(step.kind, figures.shares)}` : ""}`;
    const pick = () => choose(chosen ? "" : step.name);
    return (
      <g
        class={`box ${family} ${chosen ? "chosen" : ""}`}
        transform={`translate(${step.x + MARGIN - width / 2} ${top(step.layer)})`}
        role="button"
        tabindex={0}
        aria-pressed={chosen}
        aria-label={label}
        onClick={pick}
        onKeyDown={(event: KeyboardEvent) => {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            pick();
          }
        }}
      >
        <rect class="frame" width={width} height={BOX} rx="8" />
        <rect class="family" x="0" y="12" width="3.5" height={BOX - 24} rx="1.75" />
        <text class="name" x="14" y="22">
          {seen[0]}
        </text>{" "}
        <text class="detail" x="14" y="40">
          {seen[1]}
        </text>{" "}
        {seen[2] && (
          <text class="rate" x={width - 12} y="40" text-anchor="end">
            {seen[2]}
          </text>
        )}{" "}
        {figures?.shares && <ShareBar shares={figures.shares} width={width - 26} />}
        {seen[3] && (
          <g class="dead" transform={`translate(${width - 14} 14)`}>
            <circle r="9" />
            <text text-anchor="middle" y="3.6">
              {seen[3]}
            </text>
          </g>
        )}
      </g>
    );
  },
  (before, after) =>
    before.step === after.step &&
    before.chosen === after.chosen &&
    before.figures?.rate === after.figures?.rate &&
    before.figures?.dead === after.figures?.dead &&
    before.figures?.waits === after.figures?.waits &&
    before.figures?.shares === after.figures?.shares,
);

function ShareBar({ shares, width }: { shares: StepShares; width: number }) {
  let x = 0;
  return (
    <g class="shares" transform={`translate(14 ${BOX - 11})`}>
      <rect class="track" width={width} height="4" />
      {(["busy", "blocked", "idle"] as const).map((state) => {
        const part = <rect class={state} x={x} width={shares[state] * width} height="4" />;
        x += shares[state] * width;
        return part;
      })}
    </g>
  );
}

function dead(number: number): string {
  return number > 99 ? "99+" : String(number);
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
