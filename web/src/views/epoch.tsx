// One epoch: what it read, by whom, what came of it, and how long each phase took.

import { get, path, post } from "../api";
import { bytes, count, id, iso, millis } from "../format";
import type { Epoch } from "../model";
import { mayAct } from "../session";
import { Card, Code, Empty, Time, Trouble, useAsked } from "../ui/parts";
import { sum } from "./ledger";
import { InputRows, type Input } from "./why";

export function EpochView({ flow, epoch }: { flow: string; epoch: number }) {
  const found = useAsked(() => get<{ epoch: Epoch | null; undone: { undo: { id: string; why: string }; epoch: Epoch }[] }>(path("/v1/flows/{flow}/epochs/{epoch}", { flow, epoch })), [flow, epoch]);
  const one = found.value?.epoch;
  return (
    <div class="epoch">
      <div class="title">
        <div>
          <p class="crumbs">
            <a href={`/ledger/${encodeURIComponent(flow)}`}>Ledger of {flow}</a>
          </p>
          <h1>Epoch {count(epoch)}</h1>
          {one && (
            <p class="lead">
              Version {id(one.version)}, generation {one.generation}, read {count(sum(one.rows_in))} rows and wrote {count(sum(one.rows_out))} in {millis(sum(one.timings_ms))}; committed <Time us={one.committed_us} />.
            </p>
          )}
        </div>
        <div class="tools">
          {epoch > 1 && (
            <a class="button" href={`/ledger/${encodeURIComponent(flow)}/${epoch - 1}`}>
              ← {count(epoch - 1)}
            </a>
          )}
          <a class="button" href={`/ledger/${encodeURIComponent(flow)}/${epoch + 1}`}>
            {count(epoch + 1)} →
          </a>
        </div>
      </div>
      {found.error !== null && <Trouble error={found.error} />}
      {one && <Facts flow={flow} one={one} />}
      {found.value?.undone.map(({ undo, epoch: old }) => (
        <Card key={undo.id} title={`Put aside by an undo${undo.why ? `: ${undo.why}` : ""}`}>
          <p>
            Before it, version {id(old.version)} read {count(sum(old.rows_in))} rows here and wrote {count(sum(old.rows_out))}; committed <Time us={old.committed_us} />.
          </p>
        </Card>
      ))}
      {one && mayAct.value && <EpochInput flow={flow} epoch={epoch} />}
    </div>
  );
}

function Facts({ flow, one }: { flow: string; one: Epoch }) {
  const total = sum(one.timings_ms) || 1;
  return (
    <>
      <div class="pair">
        <Card title="Input">
          {Object.entries(one.plan.ranges).map(([source, range]) => (
            <div key={source}>
              <h3>
                {source} <span class="quiet">{count(one.rows_in[source] ?? 0)} rows</span>
              </h3>
              <Code text={`from ${JSON.stringify(range.start)}\nto   ${JSON.stringify(range.end)}`} label={`Range of ${source}`} />
            </div>
          ))}
          {one.plan.redrive.length > 0 && <p>Dead letters that were tried again: {one.plan.redrive.map((letter) => `#${letter.letter}`).join(", ")}.</p>}
          <p class="hint">
            Time of its rows: {iso(one.plan.now_us)} · seed <code>{String(one.plan.seed)}</code>
            {one.watermark_us ? ` · watermark ${iso(one.watermark_us)}` : ""}
          </p>
        </Card>
        <Card title="Output">
          {Object.keys(one.rows_out).length === 0 && <Empty>Nothing was written.</Empty>}
          {Object.entries(one.rows_out).map(([sink, rows]) => (
            <div key={sink}>
              <h3>
                {sink} <span class="quiet">{count(rows)} rows</span>
              </h3>
              <Code text={JSON.stringify(one.receipts[sink] ?? {})} label={`Receipt of ${sink}`} />
            </div>
          ))}
          <p>
            {count(one.rows_late)} late, {count(one.rows_dead)} dead{one.rows_dead > 0 && <> (<a href={`/flows/${encodeURIComponent(flow)}#letters`}>look</a>)</>}.
          </p>
          {one.segment && (
            <p class="hint">
              Change of state: {bytes(one.segment.size_bytes)} in <code>{one.segment.file}</code>
            </p>
          )}
        </Card>
      </div>
      <div class="pair">
        <Card title="Time">
          <ul class="bars">
            {phases(one.timings_ms).map(([phase, took]) => (
              <li key={phase}>
                <span>{phase}</span>
                <span class="track" aria-hidden="true">
                  <i style={{ width: `${(took / total) * 100}%` }} />
                </span>
                <b>{millis(took)}</b>
              </li>
            ))}
          </ul>
        </Card>
        <Card title="Checks">
          {Object.keys(one.checks).length === 0 && <Empty>The flow expects nothing of its rows.</Empty>}
          <ul>
            {Object.entries(one.checks).map(([check, result]) => (
              <li key={check}>
                <code>{check}</code>: {count(result.passed)} passed, <b class={result.failed ? "bad" : ""}>{count(result.failed)} failed</b>
              </li>
            ))}
          </ul>
        </Card>
      </div>
    </>
  );
}

const ORDER = ["read", "run", "write", "state", "commit"];

/** Phases in the order in which an epoch goes through them. */
function phases(timings_ms: Record<string, number>): [string, number][] {
  const place = (phase: string) => (ORDER.indexOf(phase) + 1 || ORDER.length + 1);
  return Object.entries(timings_ms).sort(([one], [other]) => place(one) - place(other));
}

function EpochInput({ flow, epoch }: { flow: string; epoch: number }) {
  const found = useAsked(() => post<Input>("/v1/why/input", { flow, epoch, limit: 50 }), [flow, epoch]);
  return (
    <Card title="The rows it read" more={<span class="quiet">read again from its sources, now</span>}>
      {found.error !== null ? <Trouble error={found.error} /> : found.value ? <InputRows input={found.value} /> : <p class="empty">Its sources are asked…</p>}
    </Card>
  );
}
