// Stop everything, at once.

import { call } from "../api/client";
import type { KillSwitch } from "../api/types";
import { useLoad } from "../load";
import { may } from "../session";
import { Button } from "../ui/button";
import { Panel } from "../ui/page";
import { Show } from "../ui/state";
import { Status } from "../ui/status";
import { Name, Time } from "../ui/text";
import { askStart, askStop } from "./stop";

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
                <Button kind="main" onClick={askStart}>
                  Let keys work again …
                </Button>
              ) : (
                <Button kind="danger" onClick={() => void askStop()}>
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
