// How many lines of each severity in each part of the range, as bars; SVG, drawn once an answer.

import { count } from "../format";

export interface Bucket {
  start_us: number;
  counts: Record<string, number>;
}

const KINDS: [string, string[]][] = [
  ["bad", ["EMERGENCY", "ALERT", "CRITICAL", "ERROR"]],
  ["warn", ["WARNING"]],
  ["info", ["NOTICE", "INFO"]],
  ["rest", ["DEBUG", "DEFAULT"]],
];
const HEIGHT = 64;

export function Histogram({ buckets, start, end }: { buckets: Bucket[]; start: number; end: number }) {
  const totals = buckets.map((bucket) => Object.values(bucket.counts).reduce((sum, one) => sum + one, 0));
  const most = Math.max(...totals, 1);
  const width = 1000 / Math.max(buckets.length, 1);
  const sums = KINDS.map(([kind, names]) => [kind, names, buckets.reduce((sum, one) => sum + of(one, names), 0)] as const);
  const told = sums.map(([, names, total]) => `${names.at(-1)}: ${count(total)}`).join(", ");
  return (
    <figure class="histogram">
      <svg viewBox={`0 0 1000 ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`Lines by severity. ${told}`}>
        {buckets.map((bucket, at) => {
          let y = HEIGHT;
          return KINDS.toReversed().map(([kind, names]) => {
            const height = (of(bucket, names) / most) * (HEIGHT - 2);
            y -= height;
            return height > 0 ? <rect key={`${at}${kind}`} class={kind} x={at * width + 0.6} y={y} width={Math.max(width - 1.2, 0.6)} height={height} /> : null;
          });
        })}
      </svg>
      <figcaption>
        <span>{new Date(start * 1000).toLocaleString("en-GB")}</span>
        <span class="legend">
          {sums.map(([kind, names, total]) => (
            <span key={kind}>
              <i class={kind} /> {(names.at(-1) ?? "").toLowerCase()} <b>{count(total)}</b>
            </span>
          ))}
        </span>
        <span>{new Date(end * 1000).toLocaleString("en-GB")}</span>
      </figcaption>
    </figure>
  );
}

function of(bucket: Bucket, names: string[]): number {
  return names.reduce((sum, name) => sum + (bucket.counts[name] ?? 0), 0);
}
