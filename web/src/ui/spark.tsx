// A line without axes: the shape of the last half hour.

import { rate } from "../format";

const WIDTH = 120;
const HEIGHT = 26;

export function Spark({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(...values, 0);
  if (!values.length || most === 0) return <span class="quiet spark-none">no rows</span>;
  const step = WIDTH / Math.max(values.length - 1, 1);
  const points = values.map((value, at) => `${(at * step).toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 5)).toFixed(1)}`);
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} preserveAspectRatio="none" role="img" aria-label={`${label}: at most ${rate(most)}`}>
      <path class="area" d={`M0,${HEIGHT} L${points.join(" L")} L${WIDTH},${HEIGHT} Z`} />
      <path class="line" d={`M${points.join(" L")}`} />
    </svg>
  );
}
