// The kill switch: stops every key at once.

import { call } from "../api/client";
import type { Overview } from "../api/types";
import { counted } from "../format/number";
import { changed } from "../live";
import { ask } from "../ui/dialog";
import { toast } from "../ui/toast";

/** How many keys work now, in words; the number is a help, not a condition. */
async function working(): Promise<string> {
  try {
    const { overview } = await call<{ overview: Overview }>("GET", "/admin/overview");
    return `Right now ${counted(overview.keys.active, "key is active", "keys are active")}.`;
  } catch {
    return "";
  }
}

export async function askStop(): Promise<void> {
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
          <li>It stays so through restarts, until somebody turns it off here or with <code>till kill-switch off</code>.</li>
          <li>Nothing is revoked: keys keep their limits and what is used of them. Time goes on: keys expire as they would have.</li>
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
    },
  });
}

export function askStart(): void {
  ask({
    title: "Let keys work again?",
    text: <p>Every key that is not paused, exhausted, expired or revoked works from its next call on, with what is left of it. If one of them leaked, revoke that one first.</p>,
    action: "Let them work",
    isDanger: false,
    run: async () => {
      await call("PUT", "/admin/kill-switch", { body: { on: false } });
      changed(["kill_switch"]);
      toast("Keys work again.");
    },
  });
}
