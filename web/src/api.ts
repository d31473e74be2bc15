// The one way to the server: JSON there and back, errors as values with the server's own words.

import { session, forget } from "./session";

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null,
    readonly left: string | null,
  ) {
    super(message);
  }

  /** This server has no such part: it is older than the page, or the part is not there yet. */
  get isMissing(): boolean {
    return this.status === 404 && this.code === "not-found";
  }
}

type Values = Record<string, string | number | boolean | null | undefined>;

export function path(template: string, values: Record<string, string | number>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(values[name])));
}

const PARTS = /^\/v1\/(alerts|logs|metrics|silences)(\/|$)/;

/** Whether this server has a route; asked only of parts that a server may be without. */
export function has(where: string): boolean {
  return !PARTS.test(where) || (session.value?.parts ?? []).some((part) => new RegExp(`^${part.replace(/\{\w+\}/g, "[^/]+")}$`).test(where));
}

export async function get<T>(where: string, params: Values = {}): Promise<T> {
  if (!has(where)) throw new Refused(404, "not-found", "this part is not available on this server", null, null);
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return (await ask("GET", query ? `${where}?${query}` : where)) as T;
}

export async function post<T>(where: string, body: object = {}): Promise<T> {
  return (await ask("POST", where, body)) as T;
}

/** As `post`, with who asks: the server keeps it with what was asked for. */
export async function wish<T>(where: string, body: object = {}): Promise<T> {
  return post<T>(where, { ...body, who: session.value?.who ?? "" });
}

export async function put<T>(where: string, body: object): Promise<T> {
  return (await ask("PUT", where, body)) as T;
}

export async function remove(where: string): Promise<void> {
  await ask("DELETE", where);
}

async function ask(method: string, where: string, body?: object): Promise<unknown> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (body) headers["content-type"] = "application/json";
  if (session.value?.csrf && method !== "GET") headers["x-csrf-token"] = session.value.csrf;
  let answer: Response;
  try {
    answer = await fetch(where, { method, headers, body: body ? JSON.stringify(body) : undefined, credentials: "same-origin" });
  } catch {
    throw new Refused(0, "away", "the server does not answer", "penstock up starts it; this page goes on by itself", null);
  }
  if (answer.status === 204) return null;
  const found: unknown = await answer.json().catch(() => null);
  if (answer.ok) return found;
  if (answer.status === 401 && where !== "/v1/session") forget();
  throw refusal(answer.status, found);
}

function refusal(status: number, found: unknown): Refused {
  const error = ((found as { error?: Record<string, unknown> } | null)?.error ?? {}) as Record<string, unknown>;
  const text = (name: string) => (typeof error[name] === "string" ? (error[name] as string) : null);
  return new Refused(status, text("code") ?? "unknown", text("message") ?? `the server answered ${status}`, text("hint"), text("state_left"));
}
