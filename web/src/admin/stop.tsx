// The kill switch: stops every key at once.

import { call } from "../api/client";
import { ask } from "../ui/dialog";
import { toast } from "../ui/toast";

export function askStop(): void {
  ask({
    title: "Stop everything?",
    text: (
      <p>
        Every call of every key of this instance is refused and all streams are cut, at once and through restarts, until somebody turns it on again. Nothing is
        lost: keys keep their limits and what they have used.
      </p>
    ),
    action: "Stop everything",
    reason: "Why",
    run: async (reason) => {
      await call("PUT", "/admin/kill-switch", { body: { on: true, ...(reason && { reason }) } });
      toast("Everything is stopped.");
    },
  });
}

export function askStart(): void {
  ask({
    title: "Let everything go on?",
    text: <p>Keys work again with what is left of their limits.</p>,
    action: "Turn it on again",
    isDanger: false,
    run: async () => {
      await call("PUT", "/admin/kill-switch", { body: { on: false } });
      toast("Keys work again.");
    },
  });
}
