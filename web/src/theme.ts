// Light and dark: by the system, unless a person said which.

import { signal, effect } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "penstock.theme";
const kept = localStorage.getItem(KEY);
export const theme = signal<Theme>(kept === "light" || kept === "dark" ? kept : "system");
/** Changes when colours do: charts are painted again. */
export const painted = signal(0);

export function watchTheme(): void {
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
    if (theme.value === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme.value);
    painted.value = painted.peek() + 1;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => painted.value++);
}

const probe = document.createElement("i");

/** A colour of the style sheet as the browser would paint it now, for a canvas. */
export function colour(name: string): string {
  if (!probe.isConnected) {
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
