// Changes of a flow: the one that is under way with its gate, and the receipts of those that are over.

import { useState } from "preact/hooks";
import { get, path, wish } from "../api";
import { count, id, millis, plural, span } from "../format";
import { beat } from "../live";
import type { Deployment, Flow, GateFacts } from "../model";
import { mayAct } from "../session";
import { confirm } from "../ui/dialog";
import { Button, Card, Code, Empty, Pill, Time, Trouble, useAsked, useTick } from "../ui/parts";
import { Diff } from "../ui/rows";
import type { Tone } from "../words";
import { sentences } from "./actions";

const ENDS: Record<string, { word: string; tone: Tone; sign: string }> = {
  running: { word: "under way", tone: "busy", sign: "M3 8h9M9 4.5 12.5 8 9 11.5" },
  done: { word: "done", tone: "good", sign: "M3 8.5 6.5 12 13 4.5" },
  refused: { word: "refused", tone: "warn", sign: "M4.5 4.5l7 7M11.5 4.5l-7 7" },
  failed: { word: "failed", tone: "bad", sign: "M8 3v6.5M8 12.6v.1" },
  "rolled-back": { word: "rolled back", tone: "warn", sign: "M12.5 8h-9M7 4.5 3.5 8 7 11.5" },
};

export function Deployments({ flow }: { flow: Flow }) {
  const turn = useTick(flow.deployment ? 2000 : 30_000);
  const found = useAsked(() => get<{ deployments: Deployment[] }>("/v1/deployments", { flow: flow.flow, limit: 20 }), [flow.flow, beat.value, turn]);
  const [open, setOpen] = useState<string | null>(null);
  const all = found.value?.deployments ?? [];
  return (
    <Card id="deployments" title="Changes" more={found.value && <span class="quiet">deployments, rollbacks, undos</span>}>
      {found.error !== null && !found.value && <Trouble error={found.error} />}
      {found.value && all.length === 0 && <Empty>No version was changed yet.</Empty>}
      {all.map((one) => {
        const shown = one.status === "running" || open === one.id;
        return (
          <article key={one.id} class={`deployment ${one.status}`} aria-label={`${one.kind} ${one.id}`}>
            <Head one={one} open={shown} toggle={() => setOpen(open === one.id ? null : one.id)} />
            {one.status === "running" && <Stages one={one} />}
            {one.status === "running" && one.stage === "approve" && !one.facts["approval"] && <Approval one={one} />}
            {shown && <Details one={one} />}
          </article>
        );
      })}
    </Card>
  );
}

function Head({ one, open, toggle }: { one: Deployment; open: boolean; toggle: () => void }) {
  const end = ENDS[one.status] ?? { word: one.status, tone: "idle" as Tone, sign: "" };
  return (
    <header>
      <button type="button" class="fold" aria-expanded={open} onClick={toggle}>
        <Pill tone={end.tone} sign={end.sign}>
          {end.word}
        </Pill>
        <span>
          <strong>
            {one.kind} {id(one.old_version)} → {id(one.new_version)}
          </strong>
          <span class="quiet">
            {one.who} · <Time us={one.made_us} />
            {one.why ? ` · ${one.why}` : ""}
          </span>
        </span>
      </button>
      {one.status === "running" && mayAct.value && (
        <Button kind="quiet" onClick={() => confirm(cancel(one))}>
          Cancel…
        </Button>
      )}
    </header>
  );
}

function Stages({ one }: { one: Deployment }) {
  const at = one.plan.findIndex((stage) => stage.stage === one.stage);
  return (
    <ol class="stages" aria-label="Stages">
      {one.plan.map((stage, number) => (
        <li key={stage.stage} class={number < at ? "over" : number === at ? "now" : ""} aria-current={number === at ? "step" : undefined}>
          {stage.stage}
        </li>
      ))}
    </ol>
  );
}

function Approval({ one }: { one: Deployment }) {
  const gate = (one.facts["gate"] ?? {}) as GateFacts;
  const answer = (verb: "approve" | "refuse") => (why: string) => wish(path(`/v1/deployments/{id}/${verb}`, { id: one.id }), { why });
  const passed = gate.passed !== false;
  return (
    <div class="approval" role="region" aria-label="Approval">
      <p>
        <strong>It waits for a person.</strong> Look at what would be different, then say whether {id(one.new_version)} may lead.
      </p>
      {mayAct.value && (
        <p class="deeds">
          <Button
            kind="main"
            onClick={() =>
              confirm({
                title: `Let ${id(one.new_version)} lead ${one.flow}?`,
                happens: sentences([
                  "It takes over between two epochs; rows are written by it from then on, each once.",
                  "The old version runs on, hidden and warm, while the new one is watched: the way back is as quick.",
                  ...(passed ? [] : [`The gate did not pass: ${(gate.reasons ?? []).join("; ")}. Your reason stays in the receipt.`]),
                ]),
                verb: "Approve",
                why: passed ? "asked" : "wanted",
                done: "Approved",
                act: answer("approve"),
              })
            }
          >
            Approve…
          </Button>
          <Button
            onClick={() =>
              confirm({
                title: `Refuse ${id(one.new_version)}?`,
                happens: sentences([`${id(one.old_version)} goes on leading, as if nothing had been.`]),
                verb: "Refuse",
                danger: true,
                why: "asked",
                done: "Refused",
                act: answer("refuse"),
              })
            }
          >
            Refuse…
          </Button>
        </p>
      )}
    </div>
  );
}

function cancel(one: Deployment) {
  return {
    title: `Take this ${one.kind} of ${one.flow} back?`,
    happens: sentences(["Before the cut nothing has changed: it just ends.", "After the cut the old version takes over again; rows that were written stay."]),
    verb: "Take it back",
    danger: true,
    why: "asked" as const,
    done: "Asked to be taken back",
    act: (why: string) => wish(path("/v1/deployments/{id}/cancel", { id: one.id }), { why }),
  };
}

function Details({ one }: { one: Deployment }) {
  const gate = (one.facts["gate"] ?? {}) as GateFacts & { changes?: Changes };
  const changes = gate.changes ?? (one.facts["verdict"]?.["changes"] as Changes | undefined);
  return (
    <div class="details">
      {one.status !== "running" && <Receipt one={one} />}
      {gate.passed !== undefined && (
        <div class="gate">
          <h4>
            Gate{" "}
            <Pill tone={gate.passed ? "good" : "warn"} sign={gate.passed ? "M3 8.5 6.5 12 13 4.5" : "M8 3v6.5M8 12.6v.1"}>
              {gate.passed ? "passed" : gate.forced ? "forced" : "did not pass"}
            </Pill>
          </h4>
          {gate.reasons && gate.reasons.length > 0 && sentences(gate.reasons)}
        </div>
      )}
      {changes?.steps?.map((step) => (
        <div key={step.name}>
          <h4>
            Step {step.name} {step.change}
          </h4>
          {step.code?.map((part) => part.diff && <CodeDiff key={part.name} text={part.diff} name={part.name} />)}
        </div>
      ))}
      {gate.diff && Object.values(gate.diff).map((diff) => <Diff key={diff.sink} diff={diff} />)}
    </div>
  );
}

interface Changes {
  steps?: { name: string; change: string; code?: { name: string; diff?: string }[] }[];
}

function CodeDiff({ text, name }: { text: string; name: string }) {
  return (
    <pre class="code" tabIndex={0} aria-label={`What changed in the code of ${name}`}>
      {text.split("\n").map((line, at) => (
        <span key={at} class={line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : ""}>
          {line}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}

function Receipt({ one }: { one: Deployment }) {
  const receipt = one.receipt;
  const cut = (receipt["cut"] ?? {}) as Record<string, number | null>;
  const facts: [string, string][] = [];
  const add = (name: string, text: string | null | undefined) => void (text && facts.push([name, text]));
  if (typeof cut["pause_ms"] === "number") add("pause at the sink", millis(cut["pause_ms"]));
  if (typeof cut["from_epoch"] === "number") add("first epoch", count(cut["from_epoch"]));
  if (typeof cut["rows_lost"] === "number") add("rows lost", count(cut["rows_lost"]));
  if (typeof cut["rows_duplicated"] === "number") add("rows twice", count(cut["rows_duplicated"]));
  if (typeof receipt["seconds"] === "number") add("took", span(receipt["seconds"] as number));
  if (typeof receipt["state_rows_migrated"] === "number") add("state rows migrated", count(receipt["state_rows_migrated"] as number));
  const approval = (receipt["approval"] ?? {}) as Record<string, unknown>;
  if (approval["yes"]) add("approved by", String(approval["who"] || "the policy"));
  if (typeof receipt["leads"] === "string") add("leads now", id(receipt["leads"] as string));
  return (
    <>
      {facts.length > 0 && (
        <dl class="receipt" aria-label={`Receipt of ${one.id}`}>
          {facts.map(([name, text]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
      )}
      {one.status !== "done" && typeof receipt["why"] === "string" && <p>{receipt["why"] as string}</p>}
      <details>
        <summary>Receipt as it is kept ({plural(Object.keys(receipt).length, "entry", "entries")})</summary>
        <Code text={JSON.stringify({ ...receipt, gate: undefined }, null, 1)} label="Receipt" />
      </details>
    </>
  );
}
