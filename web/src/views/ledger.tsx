// The epochs of a flow, newest first: pages from the server, and only the lines in sight in the document.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, path } from "../api";
import { count, id, millis } from "../format";
import { flows, sorted } from "../live";
import type { Epoch } from "../model";
import { go } from "../route";
import { Empty, Time, Trouble } from "../ui/parts";
import { VirtualList } from "../ui/virtual";

const PAGE = 500;
/** The first page is small: it fills the screen, and is there sooner. */
const FIRST_PAGE = 100;

export function Ledger({ flow }: { flow: string }) {
  const names = sorted.value.map((one) => one.flow);
  const name = flow || names[0] || "";
  return (
    <div class="ledger">
      <div class="title">
        <div>
          <h1>Ledger</h1>
          <p class="lead">Each epoch is one record: which input it took, by which version, and what came of it. No record is ever edited.</p>
        </div>
        <div class="tools">
          <select aria-label="Flow" value={name} onChange={(event) => go(`/ledger/${encodeURIComponent(event.currentTarget.value)}`)}>
            {names.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
          <a class="button" href="/why">
            Why this row?
          </a>
        </div>
      </div>
      {name ? <Epochs key={name} flow={name} /> : <Empty>No flow has run here yet.</Empty>}
    </div>
  );
}

function Epochs({ flow }: { flow: string }) {
  const [records, setRecords] = useState<Epoch[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [ended, setEnded] = useState(false);
  const [only, setOnly] = useState("");
  const busy = useRef(false);
  const where = path("/v1/flows/{flow}/epochs", { flow });
  const newest = flows.value?.get(flow)?.epoch ?? null;

  const older = async () => {
    const last = records.at(-1);
    if (busy.current || ended || last?.epoch === 1) return;
    busy.current = true;
    try {
      const limit = last ? PAGE : FIRST_PAGE;
      const found = await get<{ epochs: Epoch[] }>(where, { limit, brief: true, last: last ? last.epoch - 1 : undefined });
      setRecords((before) => [...before, ...found.epochs.reverse()]);
      setEnded(found.epochs.length < limit);
    } catch (problem) {
      setError(problem);
    }
    busy.current = false;
  };
  const newer = async () => {
    const first = records[0];
    if (!first || newest === null || newest <= first.epoch || busy.current) return;
    busy.current = true;
    try {
      const found = await get<{ epochs: Epoch[] }>(where, { limit: PAGE, brief: true, first: first.epoch + 1 });
      setRecords((before) => [...found.epochs.reverse(), ...before]);
    } catch (problem) {
      setError(problem);
    }
    busy.current = false;
  };
  useEffect(() => void older(), []);
  useEffect(() => void newer(), [newest]);
  const shown = useMemo(() => records.filter((one) => !only || matches(one, only)), [records, only]);

  return (
    <div class="card flush">
      <div class="listhead">
        <span class="quiet">
          {count(records.length)} of {newest === null ? "?" : count(Math.max(newest, records[0]?.epoch ?? 0))} epochs
        </span>
        <form
          class="jump"
          onSubmit={(event) => {
            event.preventDefault();
            const asked = Number(new FormData(event.currentTarget).get("epoch"));
            if (asked > 0) go(`/ledger/${encodeURIComponent(flow)}/${asked}`);
          }}
        >
          <input name="epoch" type="number" min={1} placeholder="go to epoch" aria-label="Go to epoch" />
        </form>
        <select aria-label="Which epochs" value={only} onChange={(event) => setOnly(event.currentTarget.value)}>
          <option value="">all epochs</option>
          <option value="dead">with dead letters</option>
          <option value="late">with late rows</option>
          <option value="output">with output</option>
        </select>
      </div>
      {error !== null && <Trouble error={error} />}
      <VirtualList
        label={`Epochs of ${flow}`}
        items={shown}
        height={34}
        keyOf={(one) => one.epoch}
        atEnd={() => void older()}
        head={
          <div class="row head" aria-hidden="true">
            <span>Epoch</span>
            <span>Committed</span>
            <span>Version</span>
            <span class="number">In</span>
            <span class="number">Out</span>
            <span class="number">Late</span>
            <span class="number">Dead</span>
            <span class="number">Took</span>
          </div>
        }
        line={(one) => (
          <a class="row" href={`/ledger/${encodeURIComponent(flow)}/${one.epoch}`}>
            <b>{count(one.epoch)}</b>
            <Time us={one.committed_us} />
            <code>{id(one.version)}</code>
            <span class="number">{count(sum(one.rows_in))}</span>
            <span class="number">{count(sum(one.rows_out))}</span>
            <span class={`number ${one.rows_late ? "warn" : "quiet"}`}>{count(one.rows_late)}</span>
            <span class={`number ${one.rows_dead ? "bad" : "quiet"}`}>{count(one.rows_dead)}</span>
            <span class="number">{millis(sum(one.timings_ms))}</span>
          </a>
        )}
      />
    </div>
  );
}

export function sum(values: Record<string, number>): number {
  return Object.values(values).reduce((total, one) => total + one, 0);
}

function matches(one: Epoch, only: string): boolean {
  return only === "dead" ? one.rows_dead > 0 : only === "late" ? one.rows_late > 0 : sum(one.rows_out) > 0;
}
