// Logs: the filter language or SQL, a histogram by severity, a list of any length, and a tail that stays smooth.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, has, Refused } from "../api";
import { count } from "../format";
import type { LogEntry, SqlResult } from "../model";
import { interval, rangeName } from "../range";
import { note, place } from "../route";
import { mayAct } from "../session";
import { Histogram, type Bucket } from "../ui/histogram";
import { Button, Empty, Missing, Trouble, useAsked } from "../ui/parts";
import { VirtualList } from "../ui/virtual";
import { around as between } from "./counts";
import { RangeSwitch } from "./flow";
import { SqlTable } from "./panel";

const PAGE = 500;
const KEPT = 20_000;
const CAUGHT_UP = 1_000;
const RECENT = 5_000;
const PAINT_EVERY_MS = 150;
const SQL_FIRST = "select timestamp, severity, flow, step, message from logs order by timestamp desc limit 200";

export function Logs() {
  const query = place.value.query;
  const [language, setLanguage] = useState(query.get("sql") ? "sql" : "filter");
  const [text, setText] = useState(query.get("sql") ?? query.get("filter") ?? "");
  const [asked, setAsked] = useState(text);
  const submit = (event: Event) => {
    event.preventDefault();
    setAsked(text);
    note(language === "sql" ? { sql: text, filter: "" } : { filter: text, sql: "" });
  };
  const turnTo = (next: string) => {
    setLanguage(next);
    const first = next === "sql" ? SQL_FIRST : "";
    setText(first);
    setAsked(next === "sql" ? "" : first);
  };
  return (
    <div class="logs">
      <div class="title">
        <div>
          <h1>Logs</h1>
        </div>
        <RangeSwitch />
      </div>
      <form class="ask" onSubmit={submit}>
        <div class="ranges" role="radiogroup" aria-label="Language">
          {["filter", "sql"].map((one) => (
            <button key={one} type="button" role="radio" aria-checked={language === one} onClick={() => turnTo(one)}>
              {one === "sql" ? "SQL" : "Filter"}
            </button>
          ))}
        </div>
        <textarea
          aria-label={language === "sql" ? "Query" : "Filter"}
          rows={language === "sql" ? 3 : 1}
          spellcheck={false}
          value={text}
          placeholder={language === "sql" ? SQL_FIRST : 'severity>=ERROR AND resource.labels.flow="revenue" AND "timed out"'}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && (language === "filter" || event.ctrlKey || event.metaKey)) submit(event);
          }}
        />
        <Button type="submit" kind="main">
          Ask
        </Button>
      </form>
      {language === "sql" ? asked ? <Queried query={asked} /> : <Empty>DuckDB SQL over all tables of the environment. Ctrl-Enter asks.</Empty> : <Filtered filter={asked} />}
    </div>
  );
}

function Queried({ query }: { query: string }) {
  const found = useAsked(() => get<SqlResult>("/v1/sql", { query, limit: 2000 }), [query]);
  if (!mayAct.value) return <Empty>Queries show rows: they are for operators.</Empty>;
  if (found.error !== null) return <Trouble error={found.error} />;
  return found.value ? <SqlTable result={found.value} /> : <p class="loading">…</p>;
}

function Filtered({ filter }: { filter: string }) {
  const [live, setLive] = useState(false);
  const span = useMemo(interval, [rangeName.value, filter]);
  const around = { filter, ...between(span.start, span.end) };
  const buckets = useAsked(() => get<{ buckets: Bucket[] }>("/v1/logs/histogram", { ...around, buckets: 80 }), [filter, rangeName.value]);
  if (!has("/v1/logs")) return <Missing what="The log" />;
  return (
    <>
      {buckets.value && <Histogram buckets={buckets.value.buckets} start={span.start} end={span.end} />}
      <div class="card flush">
        <div class="listhead">
          <Button kind={live ? "main" : "plain"} aria-pressed={live} onClick={() => setLive(!live)}>
            {live ? "Stop following" : "Follow"}
          </Button>
        </div>
        {live ? <Tail filter={filter} /> : <Found around={around} />}
      </div>
    </>
  );
}

function Found({ around }: { around: { filter: string; since_us: number; until_us: number } }) {
  const [entries, setEntries] = useState<LogEntry[]>([]);
  const [next, setNext] = useState<string | null>("");
  const [error, setError] = useState<unknown>(null);
  const turn = useRef(0);
  const busy = useRef(false);
  const key = JSON.stringify(around);
  const more = async (before: string | null, mine: number) => {
    if (busy.current || before === null) return;
    busy.current = true;
    try {
      const found = await get<{ entries: LogEntry[]; next: string | null }>("/v1/logs", { ...around, limit: PAGE, before });
      if (mine === turn.current) {
        setEntries((old) => (before ? [...old, ...found.entries] : found.entries));
        setNext(found.next ?? null);
        setError(null);
      }
    } catch (problem) {
      if (mine === turn.current) setError(problem);
    }
    busy.current = false;
  };
  useEffect(() => {
    turn.current++;
    busy.current = false;
    setEntries([]);
    setNext("");
    void more("", turn.current);
  }, [key]);
  if (error !== null) return error instanceof Refused && error.isMissing ? <Missing what="The log" /> : <Trouble error={error} />;
  if (!entries.length) return <Empty>{next === "" ? "…" : "No line is like that in this time."}</Empty>;
  return <Lines entries={entries} atEnd={() => void more(next, turn.current)} />;
}

interface Told {
  seen: number;
  /** Lines that nobody was told: too many at once for the server, or for this page while it holds still. */
  leftOut: number;
  /** How often the connection broke for so long that not all of what was logged meanwhile is in the list. */
  gaps: number;
}

/** What was told lately, by its id: around a new connection a line may come twice, from it and from what was asked for. */
class Recent {
  private ids = new Set<string>();
  /** Of the newest line, or of the first connection: RFC 3339. */
  last = "";

  fresh(entries: LogEntry[]): LogEntry[] {
    const found = entries.filter((one) => !this.ids.has(one.insert_id));
    for (const one of found) {
      this.ids.add(one.insert_id);
      if (one.timestamp > this.last) this.last = one.timestamp;
    }
    for (const id of this.ids) {
      if (this.ids.size <= RECENT) break;
      this.ids.delete(id);
    }
    return found;
  }
}

/** New lines come in bunches; they are painted a few times a second, however many there are. */
function Tail({ filter }: { filter: string }) {
  const [entries, setEntries] = useState<LogEntry[]>([]);
  const [told, setTold] = useState<Told>({ seen: 0, leftOut: 0, gaps: 0 });
  const [link, setLink] = useState<"connecting" | "live" | "lost">("connecting");
  const waiting = useRef<LogEntry[]>([]);
  const missed = useRef(0);
  const [paused, setPaused] = useState(false);
  useEffect(() => {
    const source = new EventSource(`/v1/logs/tail?${new URLSearchParams({ filter })}`);
    waiting.current = [];
    missed.current = 0;
    setEntries([]);
    setTold({ seen: 0, leftOut: 0, gaps: 0 });
    setLink("connecting");
    const recent = new Recent();
    const take = (entries: LogEntry[]) => {
      waiting.current.push(...recent.fresh(entries));
      const tooMany = waiting.current.length - KEPT;
      if (tooMany > 0) {
        waiting.current.splice(0, tooMany);
        missed.current += tooMany;
      }
    };
    const gap = () => setTold((before) => ({ ...before, gaps: before.gaps + 1 }));
    const catchUp = async () => {
      try {
        const since_us = Date.parse(recent.last) * 1000;
        const found = await get<{ entries: LogEntry[]; next: string | null }>("/v1/logs", { filter, since_us, limit: CAUGHT_UP });
        if (source.readyState === EventSource.CLOSED) return;
        take(found.entries.reverse());
        if (found.next) gap();
      } catch {
        gap();
      }
    };
    source.addEventListener("ready", (message) => {
      if (recent.last) void catchUp();
      else recent.last = (JSON.parse((message as MessageEvent<string>).data) as { time: string }).time;
      setLink("live");
    });
    source.onerror = () => setLink("lost");
    source.addEventListener("skipped", (message) => {
      missed.current += (JSON.parse((message as MessageEvent<string>).data) as { count: number }).count;
    });
    source.addEventListener("entries", (message) => {
      take(JSON.parse((message as MessageEvent<string>).data) as LogEntry[]);
    });
    return () => source.close();
  }, [filter]);
  useEffect(() => {
    if (paused) return;
    const timer = setInterval(() => {
      if (!waiting.current.length && !missed.current) return;
      const fresh = waiting.current.reverse();
      const leftOut = missed.current;
      waiting.current = [];
      missed.current = 0;
      setTold((before) => ({ ...before, seen: before.seen + fresh.length, leftOut: before.leftOut + leftOut }));
      setEntries((old) => [...fresh, ...old].slice(0, KEPT));
    }, PAINT_EVERY_MS);
    return () => clearInterval(timer);
  }, [paused]);
  return (
    <>
      <p class="listhead quiet" role="status">
        {link === "live" ? inWords(told) : link === "connecting" ? "Connecting…" : "The connection is away; it comes back by itself."}
        <Button kind="quiet" onClick={() => setPaused(!paused)}>
          {paused ? "Go on" : "Hold still"}
        </Button>
      </p>
      <Lines entries={entries} pinned={!paused} />
    </>
  );
}

function inWords({ seen, leftOut, gaps }: Told): string {
  const parts = [`${count(seen)} lines since you follow`];
  if (leftOut) parts.push(`${count(leftOut)} more came too fast and are left out here`);
  if (gaps) parts.push(`the connection was away ${gaps === 1 ? "once" : `${count(gaps)} times`}, and lines of that time are left out here`);
  if (seen > KEPT) parts.push(`the newest ${count(KEPT)} are in the list`);
  return `${parts.join("; ")}.`;
}

function Lines({ entries, atEnd, pinned }: { entries: LogEntry[]; atEnd?: () => void; pinned?: boolean }) {
  const [open, setOpen] = useState<LogEntry | null>(null);
  return (
    <>
      <VirtualList
        label="Log"
        items={entries}
        height={26}
        keyOf={(one) => one.insert_id}
        atEnd={atEnd}
        pinned={pinned}
        line={(one) => (
          <button type="button" class={`logline ${one.severity.toLowerCase()}`} onClick={() => setOpen(one === open ? null : one)}>
            <time>
              <span class="day">{one.timestamp.slice(5, 10)} </span>
              {one.timestamp.slice(11, 23)}
            </time>
            <b>{one.severity}</b>
            <span class="quiet">
              {one.flow}
              {one.step ? `/${one.step}` : ""}
            </span>
            <span class="message">{one.message}</span>
          </button>
        )}
      />
      {open && (
        <div class="entry" role="region" aria-label="Log entry">
          <header>
            <b>{open.timestamp}</b>
            <Button kind="quiet" onClick={() => setOpen(null)}>
              Close
            </Button>
          </header>
          <pre class="code" tabIndex={0}>
            {open.message}
          </pre>
          <p class="facts">
            {open.flow && <a href={`/flows/${encodeURIComponent(open.flow)}`}>{open.flow}</a>}
            {open.step && <span>step {open.step}</span>}
            {open.version && <span>version {open.version}</span>}
            {open.epoch !== null && open.epoch !== undefined && <a href={`/ledger/${encodeURIComponent(open.flow)}/${open.epoch}`}>epoch {count(open.epoch)}</a>}
            {open.worker && <span>process {open.worker}</span>}
          </p>
          {open.attrs !== null && open.attrs !== undefined && (
            <pre class="code" tabIndex={0}>
              {typeof open.attrs === "string" ? open.attrs : JSON.stringify(open.attrs, null, 1)}
            </pre>
          )}
        </div>
      )}
    </>
  );
}
