// The frame of every view: where one is, where one can go, whether what is shown is live.

import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { link, trouble } from "../live";
import { parts } from "../route";
import { logOut, session } from "../session";
import { theme, type Theme } from "../theme";
import { Sign } from "./parts";

const PLACES = [
  { to: "/", name: "Overview", at: [undefined, "flows"], sign: "M2.5 5h11M2.5 8h11M2.5 11h11" },
  { to: "/logs", name: "Logs", at: ["logs"], sign: "M3 3.5h10M3 6.5h7M3 9.5h10M3 12.5h5" },
  { to: "/dashboards", name: "Dashboards", at: ["dashboards"], sign: "M3 13V8M6.5 13V3.5M10 13V6M13.5 13v-3" },
  { to: "/alerts", name: "Alerts", at: ["alerts"], sign: "M8 2.5c2.5 0 3.5 1.8 3.5 4 0 3 1.5 4 1.5 4H3s1.5-1 1.5-4c0-2.2 1-4 3.5-4zM6.8 13h2.4" },
  { to: "/ledger", name: "Ledger", at: ["ledger", "why"], sign: "M3.5 2.5h9v11h-9zM6 2.5v11M8.5 6h2.5M8.5 9h2.5" },
];

const THEMES: { name: Theme; label: string; sign: string }[] = [
  { name: "system", label: "Colours of the system", sign: "M2.5 3.5h11v7h-11zM6 13h4" },
  { name: "light", label: "Light", sign: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6" },
  { name: "dark", label: "Dark", sign: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z" },
];

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <rect width="32" height="32" rx="7" />
      <path class="pipe" d="M6 10.5h6M6 16h6M6 21.5h6M20.5 21.5H26" />
      <path class="gate" d="M16.5 6v20" />
    </svg>
  );
}

export function Shell({ children }: { children: ComponentChildren }) {
  const [first, second] = parts.value;
  const who = session.value;
  useEffect(() => {
    const here = second ?? PLACES.find((one) => one.at.includes(first))?.name ?? "";
    document.title = `${here} · ${who?.env ?? ""} · Penstock`;
  }, [first, second, who]);
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <header class="top">
        <a class="brand" href="/" title="Overview">
          <Mark />
          <span>
            {who?.project || "penstock"}
            <em class={who?.production ? "production" : ""}>{who?.env}</em>
          </span>
        </a>
        <nav aria-label="Views">
          {PLACES.map((one) => (
            <a key={one.to} href={one.to} aria-current={one.at.includes(first) ? "page" : undefined}>
              <Sign path={one.sign} />
              <span>{one.name}</span>
            </a>
          ))}
        </nav>
        <div class="right">
          <LinkState />
          <ThemeSwitch />
          <button type="button" class="who" onClick={() => void logOut()} title="Log out" aria-label={`Log out ${who?.who ?? ""}, ${who?.role ?? ""}`}>
            <span>{who?.who || who?.role}</span>
            <Sign path="M6.5 3H3.5v10h3M7 8h6.5M11 5.5 13.5 8 11 10.5" />
          </button>
        </div>
      </header>
      {trouble.value && (
        <p class="banner" role="alert">
          {trouble.value}
        </p>
      )}
      {link.value === "lost" && (
        <p class="banner" role="status">
          The server does not answer. What you see is as it was; this page goes on by itself. Flows do not need the server to run.
        </p>
      )}
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}

function LinkState() {
  const word = { connecting: "connecting", live: "live", lost: "away" }[link.value];
  return (
    <span class={`live ${link.value}`} title={`The connection to the server: ${word}`}>
      <i aria-hidden="true" /> {word}
    </span>
  );
}

function ThemeSwitch() {
  return (
    <div class="themes" role="radiogroup" aria-label="Colours">
      {THEMES.map((one) => (
        <button
          key={one.name}
          type="button"
          role="radio"
          aria-checked={theme.value === one.name}
          aria-label={one.label}
          title={one.label}
          onClick={() => (theme.value = one.name)}
        >
          <Sign path={one.sign} size={15} />
        </button>
      ))}
    </div>
  );
}
