// One dialog for every deed: what will happen, in words, then yes or no. Nothing is done by a single click.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Trouble, Button } from "./parts";

export interface Deed {
  title: string;
  /** What will happen, sentence by sentence. */
  happens: ComponentChildren;
  verb: string;
  danger?: boolean;
  /** A reason: asked for, or demanded. */
  why?: "asked" | "wanted";
  /** What must be typed before it can be done. */
  typed?: string;
  act: (why: string) => Promise<unknown>;
  done?: string;
}

const asked = signal<Deed | null>(null);
export const told = signal("");

export function confirm(deed: Deed): void {
  asked.value = deed;
}

export function Confirmation() {
  const deed = asked.value;
  return deed ? <Question key={deed.title} deed={deed} /> : null;
}

function Question({ deed }: { deed: Deed }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [why, setWhy] = useState("");
  const [typed, setTyped] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const close = () => (asked.value = null);
  const ready = (deed.why !== "wanted" || why.trim()) && (!deed.typed || typed === deed.typed) && !busy;
  const act = async (event: Event) => {
    event.preventDefault();
    if (!ready) return;
    setBusy(true);
    try {
      await deed.act(why.trim());
      say(deed.done ?? `${deed.verb}: asked for`);
      close();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="deed-title">
      <form onSubmit={act}>
        <h2 id="deed-title">{deed.title}</h2>
        <div class="happens">{deed.happens}</div>
        {deed.why && (
          <label>
            Why{deed.why === "wanted" ? "" : " (kept with what is done)"}
            <input name="why" value={why} maxLength={500} onInput={(event) => setWhy(event.currentTarget.value)} autoFocus />
          </label>
        )}
        {deed.typed && (
          <label>
            Type <b>{deed.typed}</b> to go on
            <input name="typed" value={typed} autoComplete="off" onInput={(event) => setTyped(event.currentTarget.value)} />
          </label>
        )}
        {error !== null && <Trouble error={error} />}
        <footer>
          <Button onClick={close}>Leave it</Button>
          <Button type="submit" kind={deed.danger ? "danger" : "main"} disabled={!ready}>
            {busy ? "…" : deed.verb}
          </Button>
        </footer>
      </form>
    </dialog>
  );
}

let fading: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  told.value = text;
  clearTimeout(fading);
  fading = setTimeout(() => (told.value = ""), 6000);
}

export function Said() {
  return (
    <div class="said" role="status" aria-live="polite">
      {told.value && <span>{told.value}</span>}
    </div>
  );
}
