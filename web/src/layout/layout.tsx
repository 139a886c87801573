// What stands around every page: navigation, who is signed in, the state of the connection, and a stopped instance.

import { useState } from "preact/hooks";
import { call } from "../api/client";
import type { Instance, KillSwitch } from "../api/types";
import { connection } from "../live";
import { asApiError, useLoad } from "../load";
import { match } from "../match";
import { Link, place } from "../router";
import { may, self, signOut } from "../session";
import { askStart } from "../admin/stop";
import { Button } from "../ui/button";
import { Questions } from "../ui/dialog";
import { Page } from "../ui/page";
import { Empty } from "../ui/state";
import { Name, Time } from "../ui/text";
import { toast, Toasts } from "../ui/toast";
import { PAGES } from "./pages";
import { theme, type Theme } from "./theme";

export function Layout() {
  const { path } = place.value;
  let shown = null;
  for (const row of PAGES) {
    const params = match(row.pattern, path);
    if (params === null) continue;
    shown = { row, params };
    break;
  }
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <Head under={shown?.row.under ?? ""} />
      <Banners />
      <main id="main" tabIndex={-1}>
        {shown === null ? <NoPage /> : may(shown.row.needs) ? <shown.row.page key={path} params={shown.params} /> : <NotForYou />}
      </main>
      <Questions />
      <Toasts />
    </>
  );
}

function Head({ under }: { readonly under: string }) {
  const [isOpen, setOpen] = useState(false);
  const who = self.value;
  const entries = PAGES.filter((row) => row.entry !== undefined && may(row.needs));
  return (
    <header class="head">
      <Link to="/" class="brand">
        till
      </Link>
      <button type="button" class="button quiet menu" aria-expanded={isOpen} aria-controls="navigation" onClick={() => setOpen(!isOpen)}>
        Menu
      </button>
      <div id="navigation" class={isOpen ? "navigation open" : "navigation"}>
        <nav aria-label="Pages">
          <ul>
            {entries.map((row) => (
              <li key={row.pattern}>
                <Link to={row.pattern} aria-current={row.under === under ? "page" : undefined} onClickCapture={() => setOpen(false)}>
                  {row.entry}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <div class="who">
          <Live />
          <label class="theme">
            <span class="unseen">Colours</span>
            <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
              <option value="system">System</option>
              <option value="light">Light</option>
              <option value="dark">Dark</option>
            </select>
          </label>
          {who && (
            <span class="self">
              <Name text={who.name} max={40} />
              <small>{who.project === null ? who.role : `${who.role} in ${who.project}`}</small>
            </span>
          )}
          <button type="button" class="button quiet" onClick={() => void signOut().catch((error: unknown) => toast(asApiError(error).message, "error"))}>
            Sign out
          </button>
        </div>
      </div>
    </header>
  );
}

const CONNECTION = {
  off: ["", ""],
  connecting: ["Connecting", "Asking the server for live updates"],
  live: ["Live", "What you see changes as it happens"],
  lost: ["Not connected", "The server can't be reached; it is tried again by itself"],
} as const;

function Live() {
  const [text, title] = CONNECTION[connection.value];
  return (
    <span class={`live ${connection.value}`} role="status" title={title}>
      {text}
    </span>
  );
}

/** What everybody has to know: that everything is stopped. */
function Banners() {
  const stopped = useLoad((signal) => call<{ killSwitch: KillSwitch }>("GET", "/admin/kill-switch", { signal }), [], ["kill_switch"]);
  const instance = useLoad((signal) => call<{ instance: Instance }>("GET", "/admin/instance", { signal }), [], ["kill_switch"]);
  const kill = stopped.data?.killSwitch;
  const fence = instance.data?.instance.fence;
  return (
    <>
      {kill?.on && (
        <p class="banner" role="alert">
          <strong>Everything is stopped</strong>
          {kill.since !== null && (
            <>
              {" since "}
              <Time at={kill.since} />
            </>
          )}
          {kill.reason !== null && (
            <>
              {": "}
              <Name text={kill.reason} />
            </>
          )}
          {". Every call of every key is refused."} {may("instance.write") && (
            <Button kind="quiet" onClick={askStart}>
              Turn it on again
            </Button>
          )}
        </p>
      )}
      {fence && (
        <p class="banner" role="alert">
          <strong>No key works:</strong> {fence.reason}
        </p>
      )}
    </>
  );
}

function NoPage() {
  return (
    <Page title="There is no such page">
      <Empty title="The address may be mistyped, or what it showed is gone.">
        <p>
          <Link to="/">Go to the overview</Link>
        </p>
      </Empty>
    </Page>
  );
}

function NotForYou() {
  return (
    <Page title="Not for your role">
      <Empty title={`A role of ${self.value?.role ?? "yours"} does not see this page.`}>
        <p>
          Ask somebody who administers this instance, or <Link to="/">go to the overview</Link>.
        </p>
      </Empty>
    </Page>
  );
}
