// Take back what was written after an epoch: first what would happen, then the deed.

import { useState } from "preact/hooks";
import { get, path, wish } from "../api";
import { count, id, plural } from "../format";
import type { Flow, UndoPreview } from "../model";
import { mayAct } from "../session";
import { confirm } from "../ui/dialog";
import { Button, Card, Pill, Trouble } from "../ui/parts";
import { sentences } from "./actions";

export function Undo({ flow }: { flow: Flow }) {
  const [to, setTo] = useState("");
  const [preview, setPreview] = useState<UndoPreview | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const name = flow.flow;
  if (!mayAct.value) return null;
  const look = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    setPreview(null);
    try {
      setPreview((await get<{ undo: UndoPreview }>(path("/v1/flows/{name}/undo", { name }), { to })).undo);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <Card id="undo" title="Undo">
      <form class="inline" onSubmit={look}>
        <label>
          Take back what was written after
          <input name="to" required placeholder="epoch 142, 10m, 2026-08-01T10:00, a version" value={to} onInput={(event) => setTo(event.currentTarget.value)} />
        </label>
        <Button type="submit" disabled={busy || !to.trim()}>
          {busy ? "Looking…" : "Show what would happen"}
        </Button>
      </form>
      <p class="hint">The last good epoch, a time, how long ago, or the good version. Nothing happens before you have seen it.</p>
      {error !== null && <Trouble error={error} />}
      {preview && <Preview flow={flow} preview={preview} to={to} done={() => setPreview(null)} />}
    </Card>
  );
}

function Preview({ flow, preview, to, done }: { flow: Flow; preview: UndoPreview; to: string; done: () => void }) {
  const back = preview.taken_back;
  const lines = [
    `Epochs ${count(back.first)} to ${count(back.last)} are taken back: ${plural(back.epochs, "epoch")} of ${Object.keys(back.versions).map(id).join(", ")}.`,
    `Version ${id(preview.version)} runs their input again, from the state after epoch ${count(preview.starts_from_epoch)}: ${plural(preview.epochs_run_again, "epoch")}.`,
    `${plural(back.rows_in, "row")} of input are read again${back.rows_dead ? `; ${plural(back.rows_dead, "dead letter")} of these epochs are taken back too` : ""}.`,
  ];
  const nothing = back.epochs === 0;
  return (
    <div class="undo-preview" role="region" aria-label="What the undo would do">
      <h4>
        Back to epoch {count(preview.to_epoch)}{" "}
        <Pill tone={preview.possible ? "good" : "bad"} sign={preview.possible ? "M3 8.5 6.5 12 13 4.5" : "M4.5 4.5l7 7M11.5 4.5l-7 7"}>
          {preview.possible ? "possible" : "not possible"}
        </Pill>
      </h4>
      <p class="quiet">{preview.why}</p>
      {nothing ? <p>Nothing was written after that epoch.</p> : sentences(lines)}
      <table class="data">
        <thead>
          <tr>
            <th>Sink</th>
            <th class="number">Rows written</th>
            <th>What becomes of them</th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(back.sinks).map(([sink, loss]) => {
            const end = preview.sinks[sink];
            return (
              <tr key={sink}>
                <td>
                  {sink} <span class="quiet">{end?.place}</span>
                </td>
                <td class="number">{count(loss.rows)}</td>
                <td>{!end ? "not known" : end.undoable ? "taken back, and written anew" : end.corrects ? "corrections are sent" : "stay: this sink can't take rows back"}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {Object.entries(preview.input)
        .filter(([, found]) => !found.there)
        .map(([source, found]) => (
          <p key={source} class="trouble">
            The input of {source} is gone: {found.message}
          </p>
        ))}
      {preview.error && <p class="trouble">{preview.error.message}</p>}
      {preview.possible && !nothing && (
        <Button
          kind="danger"
          onClick={() =>
            confirm({
              title: `Undo ${plural(back.epochs, "epoch")} of ${flow.flow}?`,
              happens: sentences([...lines, "Readers see the old rows until the right ones are there, in one step a sink."]),
              verb: "Undo",
              danger: true,
              why: "wanted",
              done: "Undo begun",
              act: async (why) => {
                await wish(path("/v1/flows/{name}/deployments", { name: flow.flow }), { kind: "undo", options: { to, auto_approve: true }, why });
                done();
              },
            })
          }
        >
          Undo {plural(back.epochs, "epoch")}…
        </Button>
      )}
    </div>
  );
}
