// Stop everything, at once.

import { call } from "../api/client";
import type { KillSwitch, Overview } from "../api/types";
import { counted } from "../format/number";
import { changed } from "../live";
import { useLoad } from "../load";
import { may } from "../session";
import { Button } from "../ui/button";
import { ask } from "../ui/dialog";
import { Panel } from "../ui/page";
import { Show } from "../ui/state";
import { Status } from "../ui/status";
import { Name, Time } from "../ui/text";
import { toast } from "../ui/toast";

export function KillSwitchSection() {
  const loaded = useLoad(async (signal) => (await call<{ killSwitch: KillSwitch }>("GET", "/admin/kill-switch", { signal })).killSwitch, [], ["kill_switch"]);
  const mayTurn = may("instance.write");
  return (
    <Panel title="Kill switch">
      <Show loaded={loaded}>
        {(kill) => (
          <>
            <p>
              <Status status={kill.on ? "failed" : "ok"} /> <strong>{kill.on ? "Everything is stopped." : "Keys work."}</strong>
            </p>
            {kill.on && (
              <dl class="facts">
                {kill.since !== null && (
                  <>
                    <dt>Since</dt>
                    <dd>
                      <Time at={kill.since} seconds />
                    </dd>
                  </>
                )}
                <dt>Why</dt>
                <dd>{kill.reason === null ? <span class="muted">nobody said</span> : <Name text={kill.reason} max={300} />}</dd>
              </dl>
            )}
            <p class="prose">
              {kill.on
                ? "Every call of every key is refused with instance_stopped, until it is turned off. That stays so through restarts."
                : "On, it refuses every call of every key and cuts every stream at once. No key is lost by it: turned off, all of them go on with what is left of them."}
            </p>
            {mayTurn ? (
              kill.on ? (
                <Button kind="main" onClick={() => turnOff(loaded.reload)}>
                  Let keys work again …
                </Button>
              ) : (
                <Button kind="danger" onClick={() => void turnOn(loaded.reload)}>
                  Stop everything …
                </Button>
              )
            ) : (
              <p class="hint">Owners and admins of the whole instance can turn it.</p>
            )}
          </>
        )}
      </Show>
    </Panel>
  );
}

/** How many keys work now, in words; the number is a help, not a condition. */
async function working(): Promise<string> {
  try {
    const { overview } = await call<{ overview: Overview }>("GET", "/admin/overview");
    return `Right now ${counted(overview.keys.active, "key is active", "keys are active")}.`;
  } catch {
    return "";
  }
}

async function turnOn(reload: () => void): Promise<void> {
  const now = await working();
  ask({
    title: "Stop everything?",
    text: (
      <>
        <p>
          Before this window closes, <strong>every call of every key of this instance is refused</strong> with <code>instance_stopped</code>, and every answer that is
          being streamed is cut. {now}
        </p>
        <ul>
          <li>It stays so through restarts, until somebody turns it off here or with till kill-switch off.</li>
          <li>Nothing is revoked: keys, limits and what is used of them stay as they are. Time goes on: keys expire as they would have.</li>
          <li>This dashboard and the admin API go on working.</li>
        </ul>
      </>
    ),
    action: "Stop everything",
    reason: "Why",
    run: async (reason) => {
      await call("PUT", "/admin/kill-switch", { body: { on: true, ...(reason && { reason }) } });
      changed(["kill_switch"]);
      toast("Everything is stopped.");
      reload();
    },
  });
}

function turnOff(reload: () => void): void {
  ask({
    title: "Let keys work again?",
    text: <p>Every key that is not paused, exhausted, expired or revoked works from its next call on, with what is left of it. If one of them leaked, revoke that one first.</p>,
    action: "Let them work",
    isDanger: false,
    run: async () => {
      await call("PUT", "/admin/kill-switch", { body: { on: false } });
      changed(["kill_switch"]);
      toast("Keys work again.");
      reload();
    },
  });
}
