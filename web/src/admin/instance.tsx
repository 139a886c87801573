// How this instance is doing, and the way out of a fence.

import { call } from "../api/client";
import type { InstanceState } from "../api/admin-types";
import { whole } from "../format/number";
import { duration } from "../format/time";
import { changed } from "../live";
import { useLoad } from "../load";
import { now } from "../now";
import { may } from "../session";
import { Button, Copy } from "../ui/button";
import { ask } from "../ui/dialog";
import { Panel } from "../ui/page";
import { Show } from "../ui/state";
import { Stat, Status } from "../ui/status";
import { Code, Name, Time } from "../ui/text";
import { toast } from "../ui/toast";

const load = async (signal: AbortSignal): Promise<InstanceState> => (await call<{ instance: InstanceState }>("GET", "/admin/instance", { signal })).instance;

export function InstanceSection() {
  const loaded = useLoad(load, [], ["usage", "kill_switch"], 5000);
  return <Show loaded={loaded}>{(instance) => <Shown of={instance} reload={loaded.reload} />}</Show>;
}

function Shown({ of, reload }: { readonly of: InstanceState; readonly reload: () => void }) {
  const { fence, store } = of;
  const stats = [
    { label: "Operations stored", value: store.operations, detail: `in ${whole(store.batches)} writes` },
    { label: "Waiting now", value: store.queueLength, detail: "operations" },
    { label: "Writes that failed", value: store.commitFailures, detail: store.commitFailures > 0 ? "look at the disk" : "none" },
    { label: "More used than held", value: store.holdsExceeded, detail: "calls" },
    { label: "Limits overrun", value: store.overruns, detail: store.overruns > 0 ? "their keys are stopped" : "none" },
  ];
  return (
    <>
      {fence !== null && (
        <Panel title="Fence" actions={may("instance.write") && <Button kind="danger" onClick={() => accept(of, reload)}>Accept the roll-back …</Button>}>
          <p class="warning">
            <strong>No key works.</strong> <Name text={fence.reason} max={1000} />
          </p>
          <dl class="facts">
            <dt>The database says</dt>
            <dd>it was started {whole(fence.storeIncarnation)} times</dd>
            <dt>The witness says</dt>
            <dd>{fence.witnessIncarnation === null ? "nothing: it can't be read" : `${whole(fence.witnessIncarnation)} times`}</dd>
          </dl>
        </Panel>
      )}
      <Panel title="This instance">
        <dl class="facts">
          <dt>State</dt>
          <dd>
            <Status status={fence === null ? "ok" : "failed"} /> {fence === null ? "running" : "behind a fence: no key works"}
          </dd>
          <dt>Version</dt>
          <dd>till {of.version}</dd>
          <dt>Address for clients</dt>
          <dd>
            <Code>{of.publicUrl}</Code> <Copy text={of.publicUrl} label="Copy the address" />
          </dd>
          <dt>Running since</dt>
          <dd>
            <Time at={of.startedAt} seconds /> <small>{duration((now.value - Date.parse(of.startedAt)) / 1000)}</small>
          </dd>
          <dt>Id</dt>
          <dd>
            <Code>{of.id}</Code>
          </dd>
          <dt>Documentation</dt>
          <dd>
            {/* Not /docs: the cookie of a session is sent below /admin alone. */}
            <a href="/admin/openapi.json">The admin API of this instance</a> <small>OpenAPI</small>
          </dd>
        </dl>
      </Panel>
      <Panel title="Its store since the start">
        <dl class="stats">
          {stats.map(({ label, value, detail }) => (
            <Stat key={label} label={label} value={whole(value)} detail={detail} />
          ))}
        </dl>
      </Panel>
    </>
  );
}

function accept(of: InstanceState, reload: () => void): void {
  ask({
    title: "Accept the roll-back?",
    text: (
      <>
        <p>Keys work again, with what the restored database says is left of them. Calls that were made after that copy are forgotten, so keys can use again what they had used.</p>
        <p>
          Revoke first what must not be used again. <strong>This can&apos;t be undone.</strong>
        </p>
      </>
    ),
    action: "Accept it",
    typed: of.id.slice(0, 8),
    run: async () => {
      await call("POST", "/admin/instance/accept-rollback");
      changed(["kill_switch", "keys"]);
      toast("The fence is lifted; keys work again.");
      reload();
    },
  });
}
