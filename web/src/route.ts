// Where the page is: the address is the state, so that it can be shared and gone back from.

import { signal, computed } from "@preact/signals";

const here = () => ({ path: location.pathname, query: new URLSearchParams(location.search) });

export const place = signal(here());
export const parts = computed(() => place.value.path.split("/").filter(Boolean).map(decodeURIComponent));

export function go(to: string, options: { replace?: boolean } = {}): void {
  if (options.replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  const before = place.value.path;
  place.value = here();
  if (!options.replace && before !== place.value.path) scrollTo(0, 0);
}

/** Put values into the address without a new entry in the history; an empty one takes it out. */
export function note(values: Record<string, string>): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), { replace: true });
}

export function listen(): void {
  addEventListener("popstate", () => (place.value = here()));
  document.addEventListener("click", (event) => {
    const anchor = (event.target as Element).closest?.("a[href]");
    const href = anchor?.getAttribute("href") ?? "";
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!plain || !href.startsWith("/") || anchor?.hasAttribute("download")) return;
    event.preventDefault();
    go(href);
  });
}
