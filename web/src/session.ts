// Who looks at the page. The cookie is the browser's business; here is only what the server says of it.

import { signal, computed } from "@preact/signals";
import { get, post, remove, Refused } from "./api";

export interface Session {
  role: "viewer" | "operator";
  who: string;
  csrf: string | null;
  env: string;
  project: string;
  production: boolean;
  /** The routes that this server has. */
  parts: string[];
}

export const session = signal<Session | null>(null);
/** `asking` until the server said whether there is a session. */
export const door = signal<"asking" | "open" | "closed" | "away">("asking");
export const mayAct = computed(() => session.value?.role === "operator");

export async function enter(): Promise<string | null> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname + location.search);
    const refused = await logIn(token, "");
    if (!refused) return null;
    door.value = "closed";
    return refused;
  }
  try {
    session.value = (await get<{ session: Session | null }>("/v1/session")).session;
    door.value = session.value ? "open" : "closed";
  } catch {
    door.value = "away";
  }
  return null;
}

export async function logIn(token: string, who: string): Promise<string | null> {
  try {
    session.value = (await post<{ session: Session }>("/v1/session", { token, who })).session;
    door.value = "open";
    return null;
  } catch (error) {
    return error instanceof Refused ? [error.message, error.hint].filter(Boolean).join(". ") : String(error);
  }
}

export async function logOut(): Promise<void> {
  await remove("/v1/session").catch(() => undefined);
  forget();
}

export function forget(): void {
  session.value = null;
  door.value = "closed";
}
