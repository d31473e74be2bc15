// Rows that could not be processed, by cause: look, try in memory, try for good, give up.

import { useState } from "preact/hooks";
import { path, post, wish } from "../api";
import { count, id, plural } from "../format";
import type { Flow, Letter, LetterGroup, Tried } from "../model";
import { mayAct } from "../session";
import { confirm } from "../ui/dialog";
import { Button, Card, Empty, Pill, Trouble } from "../ui/parts";
import { Rows } from "../ui/rows";
import { sentences } from "./actions";
import { useExpanded } from "./flow";

interface Props {
  flow: Flow;
  groups: LetterGroup[] | null;
  error: unknown;
  step: string;
  again: () => void;
}

export function Letters({ flow, groups, error, step, again }: Props) {
  const [open, toggle] = useExpanded();
  const shown = (groups ?? []).filter((group) => !step || group.step === step);
  return (
    <Card id="letters" title="Dead letters" more={groups && <span class="quiet">{plural(flow.dead_letters, "row")} kept</span>}>
      {error !== null && !groups && <Trouble error={error} />}
      {groups && shown.length === 0 && <Empty>{step ? `No row fell at ${step}.` : "Every row was processed."}</Empty>}
      {shown.map((group) => (
        <article class="letters" key={group.cause}>
          <header>
            <button type="button" class="fold" aria-expanded={open.has(group.cause)} onClick={() => toggle(group.cause)}>
              <b>{count(group.count)}</b>
              <span>
                <strong>{group.signature}</strong>
                <span class="quiet">
                  at {group.step} · epochs {count(group.first_epoch)} to {count(group.last_epoch)} · {Object.entries(group.states).map(([state, number]) => `${count(number)} ${state}`).join(", ")}
                </span>
              </span>
            </button>
            {mayAct.value && group.open > 0 && (
              <span class="deeds">
                <Button onClick={() => confirm(replay(flow, group, again))}>Replay {count(group.open)}…</Button>
                <Button kind="quiet" onClick={() => confirm(drop(flow, group, again))}>
                  Give up…
                </Button>
              </span>
            )}
          </header>
          {open.has(group.cause) && <Preview flow={flow} group={group} again={again} />}
        </article>
      ))}
    </Card>
  );
}

function Preview({ flow, group, again }: { flow: Flow; group: LetterGroup; again: () => void }) {
  // Those that were there when it was opened stay where they are: somebody may be at work on one.
  const [kept] = useState(group.letters.slice(0, 5));
  const now = new Map(group.letters.map((one) => [one.id, one]));
  if (!group.letters.length) return <p class="empty">Rows are shown to operators only.</p>;
  return (
    <div class="preview">
      {kept.map((letter) => (
        <One key={letter.id} flow={flow} letter={now.get(letter.id) ?? letter} again={again} />
      ))}
      {group.count > 5 && <p class="hint">The oldest five that are open. All of them: penstock deadletters {flow.flow}</p>}
    </div>
  );
}

function One({ flow, letter, again }: { flow: Flow; letter: Letter; again: () => void }) {
  const [text, setText] = useState(letter.payload);
  const [tried, setTried] = useState<Tried | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const name = flow.flow;
  const edited = text === letter.payload ? {} : { edited: { [letter.id]: text } };
  const attempt = async () => {
    setBusy(true);
    setError(null);
    try {
      const found = await post<{ letters: Tried[] }>(path("/v1/flows/{name}/dead-letters/try", { name }), { ids: [letter.id], ...edited });
      setTried(found.letters[0] ?? null);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <div class="letter">
      <p>
        <b>#{letter.id}</b> <Pill tone={letter.state === "open" ? "warn" : "idle"}>{letter.state}</Pill>{" "}
        <span class="quiet">
          epoch {count(letter.epoch)} · version {id(letter.version)}
        </span>
      </p>
      <p class="message">
        {letter.error}: {letter.message}
      </p>
      <textarea aria-label={`Row of dead letter ${letter.id}`} rows={3} spellcheck={false} value={text} readOnly={!mayAct.value || letter.state !== "open"} onInput={(event) => setText(event.currentTarget.value)} />
      {mayAct.value && letter.state === "open" && (
        <p class="deeds">
          <Button onClick={() => void attempt()} disabled={busy}>
            {busy ? "Trying…" : "Try in memory"}
          </Button>
          <Button onClick={() => confirm(replayOne(flow, letter, edited, again))}>Replay this row…</Button>
        </p>
      )}
      {error !== null && <Trouble error={error} />}
      {tried && <Outcome tried={tried} />}
    </div>
  );
}

const VERDICTS: Record<string, string> = {
  written: "It comes out:",
  remembered: "It is remembered; nothing comes out yet.",
  late: "It comes too late by now: its windows are closed.",
  dead: "It falls again.",
  stops: "It would stop the flow.",
  nothing: "It gives nothing: a step leaves it out.",
};

function Outcome({ tried }: { tried: Tried }) {
  const good = ["written", "remembered"].includes(tried.verdict);
  return (
    <div class={`outcome ${good ? "good" : "bad"}`} role="status">
      <b>{VERDICTS[tried.verdict] ?? tried.verdict}</b> Nothing was written.
      {tried.error && <p>{tried.error.message}</p>}
      {tried.dead?.map((one) => (
        <p key={one.step}>
          {one.step}: {one.message}
        </p>
      ))}
      {Object.entries(tried.written ?? {}).map(([sink, change]) => (
        <div key={sink}>
          <p class="caption">
            {plural(change.rows, "row")} for {sink}
          </p>
          <Rows rows={change.shown} label={`Rows for ${sink}`} most={5} />
        </div>
      ))}
    </div>
  );
}

function replay(flow: Flow, group: LetterGroup, again: () => void) {
  const name = flow.flow;
  return {
    title: `Replay ${plural(group.open, "dead letter")} of ${name}?`,
    happens: sentences([
      `The leader takes these rows in one of its next epochs, each exactly once, through version ${flow.version.slice(0, 8)}.`,
      "A row that fails again is a dead letter again; rows whose windows are closed count as late.",
      ...(flow.state === "running" ? [] : ["The flow does not run now: they wait until it does."]),
    ]),
    verb: "Replay",
    done: `${plural(group.open, "dead letter")} asked to be replayed`,
    act: async () => {
      await wish(path("/v1/flows/{name}/dead-letters/replay", { name }), { cause: group.cause });
      again();
    },
  };
}

function replayOne(flow: Flow, letter: Letter, edited: object, again: () => void) {
  const name = flow.flow;
  return {
    title: `Replay dead letter ${letter.id}?`,
    happens: sentences([
      "edited" in edited ? "The row as you edited it goes through the flow, in one of its next epochs." : "The row goes through the flow again, in one of its next epochs.",
      "If it fails again, it is a dead letter again.",
    ]),
    verb: "Replay",
    done: `Dead letter ${letter.id} asked to be replayed`,
    act: async () => {
      await wish(path("/v1/flows/{name}/dead-letters/replay", { name }), { ids: [letter.id], ...edited });
      again();
    },
  };
}

function drop(flow: Flow, group: LetterGroup, again: () => void) {
  const name = flow.flow;
  return {
    title: `Give up ${plural(group.open, "dead letter")} of ${name}?`,
    happens: sentences(["These rows will not be tried again. They stay readable, with your reason."]),
    verb: "Give up",
    danger: true,
    why: "wanted" as const,
    done: `${plural(group.open, "dead letter")} given up`,
    act: async (why: string) => {
      await wish(path("/v1/flows/{name}/dead-letters/drop", { name }), { cause: group.cause, why });
      again();
    },
  };
}
