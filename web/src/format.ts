// Numbers and times in words that are short and say their unit.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value: number): string {
  return whole.format(value);
}

export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9)}G`;
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  if (size >= 100 || Number.isInteger(value)) return whole.format(value);
  return trim(value);
}

function trim(value: number): string {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
}

export function rate(value: number | null): string {
  return value === null ? "-" : `${short(value)}/s`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function span(seconds: number): string {
  const size = Math.abs(seconds);
  if (size < 0.001) return "0 s";
  if (size < 1) return `${Math.round(seconds * 1000)} ms`;
  if (size < 10) return `${seconds.toFixed(1)} s`;
  if (size < 90) return `${Math.round(seconds)} s`;
  if (size < 5400) return `${Math.round(seconds / 60)} min`;
  if (size < 36 * 3600) return `${trim(Math.round(seconds / 360) / 10)} h`;
  if (size < 730 * 86400) return `${Math.round(seconds / 86400)} d`;
  return `${Math.round(seconds / (365.25 * 86400))} years`;
}

export function millis(value: number): string {
  if (value > 0 && value < 1) return `${value.toFixed(1)} ms`;
  return span(value / 1000);
}

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at++;
  }
  return `${trim(value)} ${units[at]}`;
}

/** Local time; with the day where it is not today. */
export function clock(us: number): string {
  const date = new Date(us / 1000);
  const time = date.toLocaleTimeString("en-GB", { hour12: false });
  return date.toDateString() === new Date().toDateString() ? time : `${day(date)} ${time}`;
}

function day(date: Date): string {
  return `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
}

export function iso(us: number): string {
  return `${new Date(us / 1000).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

export function ago(us: number, now_ms = Date.now()): string {
  const seconds = now_ms / 1000 - us / 1e6;
  return seconds < 1 ? "now" : `${span(seconds)} ago`;
}

export function id(version: string): string {
  return version.slice(0, 8);
}

export function value(one: unknown): string {
  if (one === null || one === undefined) return "null";
  return typeof one === "string" ? one : typeof one === "number" ? String(one) : JSON.stringify(one);
}
