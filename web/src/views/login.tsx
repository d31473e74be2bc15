// The door: a token is typed in, or the link that `penstock up` prints has opened it already.

import { useState } from "preact/hooks";
import { door, logIn } from "../session";
import { Button } from "../ui/parts";
import { Mark } from "../ui/shell";

const NAME = "penstock.who";

export function LogIn({ problem }: { problem: string | null }) {
  const [token, setToken] = useState("");
  const [who, setWho] = useState(localStorage.getItem(NAME) ?? "");
  const [said, setSaid] = useState(problem);
  const submit = async (event: Event) => {
    event.preventDefault();
    localStorage.setItem(NAME, who);
    setSaid(await logIn(token, who));
  };
  return (
    <main class="door" id="main">
      <form onSubmit={submit}>
        <Mark />
        <h1>Penstock</h1>
        {door.value === "away" ? <p role="alert">The server does not answer. Start it with penstock up, then load this page again.</p> : null}
        <label>
          Token
          <input name="token" type="password" autoComplete="current-password" required value={token} onInput={(event) => setToken(event.currentTarget.value)} />
        </label>
        <label>
          Your name (kept with what you do)
          <input name="who" autoComplete="username" maxLength={100} value={who} onInput={(event) => setWho(event.currentTarget.value)} />
        </label>
        {said && (
          <p class="problem" role="alert">
            {said}
          </p>
        )}
        <Button type="submit" kind="main">
          Open
        </Button>
        <p class="hint">
          <code>penstock up</code> prints a link that opens this page once. A token to keep: <code>penstock token new NAME --role viewer</code>
        </p>
      </form>
    </main>
  );
}
