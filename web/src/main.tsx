// The page of `penstock up`: begins, and shows the view that the address names.

import { effect } from "@preact/signals";
import { render, type VNode } from "preact";
import { useState } from "preact/hooks";
import "./style/tokens.css";
import "./style/page.css";
import "./style/parts.css";
import "./style/flow.css";
import "./style/views.css";
import { connect, disconnect } from "./live";
import { listen, parts } from "./route";
import { door, enter } from "./session";
import { watchTheme } from "./theme";
import { Confirmation, Said } from "./ui/dialog";
import { Shell } from "./ui/shell";
import { Alerts } from "./views/alerts";
import { DashboardView } from "./views/dashboard";
import { Dashboards } from "./views/dashboards";
import { EpochView } from "./views/epoch";
import { FlowView } from "./views/flow";
import { Ledger } from "./views/ledger";
import { LogIn } from "./views/login";
import { Logs } from "./views/logs";
import { Overview } from "./views/overview";
import { Why } from "./views/why";

function View(): VNode {
  const [first, second, third] = parts.value;
  switch (first) {
    case undefined:
      return <Overview />;
    case "flows":
      return <FlowView key={second} name={second ?? ""} />;
    case "logs":
      return <Logs />;
    case "dashboards":
      return second ? <DashboardView key={second} id={second} /> : <Dashboards />;
    case "alerts":
      return <Alerts />;
    case "ledger":
      return second && third ? <EpochView key={`${second}/${third}`} flow={second} epoch={Number(third)} /> : <Ledger key={second} flow={second ?? ""} />;
    case "why":
      return <Why />;
    default:
      return <p class="empty">There is no such page. The overview is at the top left.</p>;
  }
}

function Page({ refused }: { refused: string | null }) {
  const [problem] = useState(refused);
  if (door.value === "asking") return <div class="loading">…</div>;
  if (door.value !== "open") return <LogIn problem={problem} />;
  return (
    <Shell>
      <View />
      <Confirmation />
      <Said />
    </Shell>
  );
}

watchTheme();
listen();
const refused = await enter();
effect(() => {
  if (door.value === "open") connect();
  else disconnect();
});
const app = document.getElementById("app");
if (app) {
  app.replaceChildren();
  render(<Page refused={refused} />, app);
}
