// Small parts that every view is made of.

import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Refused } from "../api";
import { ago, clock, iso } from "../format";
import type { Flow } from "../model";
import { freshnessOf, stateOf, type Tone } from "../words";
import { span } from "../format";

export function Sign({ path, size = 16 }: { path: string; size?: number }) {
  return (
    <svg class="sign" viewBox="0 0 16 16" width={size} height={size} aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

export function Pill({ tone, sign, children }: { tone: Tone; sign?: string; children: ComponentChildren }) {
  return (
    <span class={`pill ${tone}`}>
      {sign && <Sign path={sign} size={14} />}
      {children}
    </span>
  );
}

export function StatePill({ flow }: { flow: Pick<Flow, "state"> }) {
  const { word, tone, sign } = stateOf(flow);
  return (
    <Pill tone={tone} sign={sign}>
      {word}
    </Pill>
  );
}

/** Age against objective: a bar that fills, with the words beside it. */
export function Freshness({ flow }: { flow: Flow }) {
  const found = freshnessOf(flow);
  if (!found) return <span class="quiet">no result yet</span>;
  const width = `${Math.min(100, Math.max(3, found.share * 100))}%`;
  return (
    <span class={`fresh ${found.tone}`}>
      <b>{found.word}</b>
      {flow.objective_s !== null && (
        <>
          <span class="of"> of {span(flow.objective_s)}</span>
          {found.tone === "bad" && <span class="word"> late</span>}
          <span class="bar" aria-hidden="true">
            <i style={{ width }} />
          </span>
        </>
      )}
    </span>
  );
}

export function Card(props: { id?: string; title: string; more?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section id={props.id} class={`card ${props.class ?? ""}`} aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        <div class="more">{props.more}</div>
      </header>
      {props.children}
    </section>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Trouble({ error }: { error: unknown }) {
  if (error instanceof Refused && error.isMissing) return <Missing what="This part" />;
  const refused = error instanceof Refused ? error : null;
  return (
    <div class="trouble" role="alert">
      <b>{error instanceof Error ? error.message : String(error)}</b>
      {refused?.left && <p>{refused.left}.</p>}
      {refused?.hint && <p class="hint">{refused.hint}</p>}
    </div>
  );
}

/** The server answers, and has no such route: said plainly instead of an empty chart. */
export function Missing({ what }: { what: string }) {
  return <p class="empty missing">{what} is not available on this server.</p>;
}

export function Time({ us }: { us: number | null }) {
  if (!us) return <span class="quiet">-</span>;
  return (
    <time dateTime={new Date(us / 1000).toISOString()} title={iso(us)}>
      {clock(us)}
    </time>
  );
}

export function Ago({ us }: { us: number | null }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 5000);
    return () => clearInterval(timer);
  }, []);
  if (!us) return <span class="quiet">never</span>;
  return (
    <time dateTime={new Date(us / 1000).toISOString()} title={iso(us)}>
      {ago(us)}
    </time>
  );
}

export function Code({ text, label }: { text: string; label?: string }) {
  return (
    <pre class="code" tabIndex={0} aria-label={label ?? "code"}>
      {text}
    </pre>
  );
}

export function Button(
  props: ButtonHTMLAttributes<HTMLButtonElement> & { kind?: "plain" | "main" | "danger" | "quiet"; children: ComponentChildren },
) {
  const { kind = "plain", ...rest } = props;
  return <button type="button" {...rest} class={`button ${kind}`} />;
}

/** A state that is asked for again when `keys` change; what was there stays until the answer comes. */
export function useAsked<T>(ask: () => Promise<T>, keys: readonly unknown[]): { value: T | null; error: unknown; again: () => void } {
  const [state, setState] = useState<{ value: T | null; error: unknown }>({ value: null, error: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let wanted = true;
    ask().then(
      (value) => wanted && setState({ value, error: null }),
      (error: unknown) => wanted && setState((before) => ({ value: before.value, error })),
    );
    return () => void (wanted = false);
  }, [...keys, turn]);
  return { ...state, again: () => setTurn((n) => n + 1) };
}

/** Counts up each `every_ms` while the page is looked at. */
export function useTick(every_ms: number): number {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setTurn((n) => n + 1), every_ms);
    return () => clearInterval(timer);
  }, [every_ms]);
  return turn;
}
