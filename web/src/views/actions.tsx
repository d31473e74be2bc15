// What a person may do with a flow. Each deed says what will happen before it does.

import { useState } from "preact/hooks";
import { get, path, wish } from "../api";
import { clock, id } from "../format";
import type { Flow, VersionFacts } from "../model";
import { mayAct } from "../session";
import { confirm, type Deed } from "../ui/dialog";
import { Button, Trouble, useAsked } from "../ui/parts";

type Verb = "start" | "pause" | "resume" | "drain" | "stop";

interface Words {
  title: (name: string) => string;
  happens: string[];
  verb: string;
  danger?: boolean;
  when: (state: string, want: string | null) => boolean;
}

const LEADS = ["running", "starting", "taking-over", "rewriting"];
const DEEDS: Record<Verb, Words> = {
  pause: {
    title: (name) => `Pause ${name}?`,
    happens: ["It finishes the epoch that is under way and takes no more input.", "Its process stays, with its state, and goes on at once when resumed.", "Meanwhile its results grow older."],
    verb: "Pause",
    when: (state) => LEADS.includes(state),
  },
  resume: {
    title: (name) => `Resume ${name}?`,
    happens: ["It goes on where it was, and works off what came in meanwhile."],
    verb: "Resume",
    when: (_, want) => want === "paused",
  },
  drain: {
    title: (name) => `Drain ${name}?`,
    happens: ["It reads what is there by now, closes its windows, and ends.", "It stays ended until somebody starts it."],
    verb: "Drain",
    when: (state) => LEADS.includes(state),
  },
  stop: {
    title: (name) => `Stop ${name}?`,
    happens: ["It finishes the epoch that is under way, and its process ends.", "Nothing is lost: it goes on from there when it is started."],
    verb: "Stop",
    danger: true,
    when: (state, want) => state !== "stopped" && want !== "stopped",
  },
  start: {
    title: (name) => `Start ${name}?`,
    happens: ["The version that ran last starts from the state after its last committed epoch."],
    verb: "Start",
    when: (state, want) => ["stopped", "finished", "held", "down", "waiting"].includes(state) || want === "drained",
  },
};

export function Actions({ flow }: { flow: Flow }) {
  const [picking, setPicking] = useState(false);
  if (!mayAct.value) return <p class="quiet viewer">You are a viewer: you see what flows do, and change nothing.</p>;
  const name = flow.flow;
  const verbs = (Object.keys(DEEDS) as Verb[]).filter((verb) => DEEDS[verb].when(flow.state, flow.want));
  const ask = (verb: Verb) => {
    const words = DEEDS[verb];
    const body = verb === "start" && flow.state === "held" ? { retry: true } : {};
    confirm({
      title: words.title(name),
      happens: sentences(verb === "start" && flow.state === "held" ? [...words.happens, "It is tried again although it failed before."] : words.happens),
      verb: words.verb,
      danger: words.danger,
      why: "asked",
      done: `${words.verb} asked for: ${name}`,
      act: (why) => wish(path(`/v1/flows/{name}/${verb}`, { name }), { ...body, why }),
    });
  };
  return (
    <div class="actions">
      <div class="row" role="group" aria-label={`What ${name} should do`}>
        {verbs.map((verb) => (
          <Button key={verb} onClick={() => ask(verb)} kind={verb === "stop" ? "quiet" : "plain"}>
            {DEEDS[verb].verb}
          </Button>
        ))}
      </div>
      <div class="row" role="group" aria-label={`Which version of ${name} should lead`}>
        <Button kind="main" disabled={flow.deployment !== null} aria-expanded={picking} onClick={() => setPicking(!picking)}>
          Deploy…
        </Button>
        <Button onClick={() => confirm(rollback(flow))}>Roll back…</Button>
      </div>
      {picking && <Versions flow={flow} close={() => setPicking(false)} />}
    </div>
  );
}

export function sentences(lines: string[]) {
  return (
    <ul>
      {lines.map((line) => (
        <li key={line}>{line}</li>
      ))}
    </ul>
  );
}

function Versions({ flow, close }: { flow: Flow; close: () => void }) {
  const name = flow.flow;
  const found = useAsked(() => get<{ versions: VersionFacts[] }>(path("/v1/flows/{name}/versions", { name })), [name]);
  const kept = [...(found.value?.versions ?? [])].reverse().filter((one) => one.manifest.made_us && one.version !== flow.version);
  return (
    <div class="picker card" role="region" aria-label="Versions to deploy">
      <p class="hint">
        A version is kept by <code>penstock deploy {name} --detach</code> or by your CI; here one of them is chosen to lead.
      </p>
      {found.error !== null && <Trouble error={found.error} />}
      {found.value && kept.length === 0 && <p class="empty">No other version of {name} is kept here.</p>}
      <ul>
        {kept.slice(0, 20).map((one) => (
          <li key={one.version}>
            <span>
              <code>{id(one.version)}</code> {one.manifest.made_us ? clock(one.manifest.made_us) : ""} <span class="quiet">{one.manifest.who} {one.manifest.why}</span>
            </span>
            <Button
              onClick={() => {
                close();
                confirm(deploy(flow, one.version));
              }}
            >
              Deploy {id(one.version)}
            </Button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function deploy(flow: Flow, version: string): Deed {
  const name = flow.flow;
  return {
    title: `Deploy ${id(version)} of ${name}?`,
    happens: sentences([
      `Version ${id(version)} starts beside ${id(flow.version)}, on a copy of its state, and writes nowhere.`,
      "What both make of the same input is compared row by row; the gate says whether that is fine.",
      "If it differs, you are asked before the cut, with the rows before you.",
      "The old version stays warm for a while after the cut, so the way back is as quick.",
    ]),
    verb: "Deploy",
    why: "asked",
    done: `Deployment of ${id(version)} begun`,
    act: (why) => wish(path("/v1/flows/{name}/deployments", { name }), { kind: "deploy", version, why }),
  };
}

function rollback(flow: Flow): Deed {
  const name = flow.flow;
  return {
    title: `Roll ${name} back?`,
    happens: sentences([
      flow.deployment ? "The deployment that is under way is taken back: the version before it leads again." : "The version that led before leads again, from the state as it is now.",
      "Rows that were written stay. To take rows back as well, use Undo.",
    ]),
    verb: "Roll back",
    danger: true,
    why: "asked",
    done: "Rollback asked for",
    act: (why) => wish(path("/v1/flows/{name}/deployments", { name }), { kind: "rollback", why }),
  };
}
