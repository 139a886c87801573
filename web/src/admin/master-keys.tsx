// Master keys: what scoped keys and upstream credentials are sealed by. Only their names are shown.

import { call, path } from "../api/client";
import type { MasterKey } from "../api/admin-types";
import { counted, whole } from "../format/number";
import { changed } from "../live";
import { type Loaded, useLoad } from "../load";
import { may } from "../session";
import { Button } from "../ui/button";
import { ask } from "../ui/dialog";
import { Panel } from "../ui/page";
import { Show } from "../ui/state";
import { PlainTable } from "../ui/table";
import { Code, Time } from "../ui/text";
import { toast } from "../ui/toast";

interface Answer {
  readonly masterKey: MasterKey;
  readonly keysEnded?: number;
}

const STATES = { current: "active", old: "on", retired: "ended" } as const;

export function MasterKeys() {
  const loaded = useLoad(async (signal) => (await call<{ masterKeys: MasterKey[] }>("GET", "/admin/master-keys", { signal })).masterKeys, [], ["admin"]);
  const isOwner = may("master_keys.write");
  return (
    <Panel title="Master keys" actions={isOwner && <Button onClick={() => rotate(loaded)}>Rotate …</Button>}>
      <p class="prose">
        New keys are made under the current one; those that were made under an old one go on. Without its master key a scoped key is refused.
        {!isOwner && " Only an owner rotates and retires them."}
      </p>
      <Show loaded={loaded}>
        {(keys) => (
          <PlainTable
            label="All master keys"
            columns={[
              { id: "id", title: "Id", width: "", cell: (key: MasterKey) => <Code>{key.id}</Code> },
              {
                id: "state",
                title: "State",
                width: "",
                cell: (key: MasterKey) => (
                  <>
                    <span class={`status ${STATES[key.state]}`}>{key.state}</span>
                    {!key.present && key.state !== "retired" && <span class="status failed">missing</span>}
                  </>
                ),
              },
              { id: "live", title: "Live keys", width: "", align: "end", cell: (key: MasterKey) => whole(key.keysLive) },
              { id: "keys", title: "Keys ever", width: "", align: "end", isMinor: true, cell: (key: MasterKey) => whole(key.keys) },
              { id: "created", title: "Since", width: "", isMinor: true, cell: (key: MasterKey) => <Time at={key.createdAt} /> },
              { id: "retired", title: "Retired", width: "", isMinor: true, cell: (key: MasterKey) => (key.retiredAt === null ? <span class="muted">no</span> : <Time at={key.retiredAt} />) },
              ...(isOwner
                ? [
                    {
                      id: "act",
                      title: "Actions",
                      width: "",
                      cell: (key: MasterKey) =>
                        key.state === "old" ? (
                          <Button kind="danger" onClick={() => retire(key, loaded)} aria-label={`Retire ${key.id}`}>
                            Retire …
                          </Button>
                        ) : (
                          <span class="muted">–</span>
                        ),
                    },
                  ]
                : []),
            ]}
            rows={[...keys].reverse()}
            id={(key) => key.id}
          />
        )}
      </Show>
    </Panel>
  );
}

function rotate(loaded: Loaded<readonly MasterKey[]>): void {
  ask({
    title: "Rotate the master key?",
    text: (
      <>
        <p>A new master key is made in the key directory, and keys are made under it from now on. All keys that there are go on working, and upstream credentials are sealed anew.</p>
        <p>
          <strong>Back up the new master key afterwards</strong>, apart from the database: a backup of the database alone does not have it.
        </p>
      </>
    ),
    action: "Rotate",
    isDanger: false,
    run: async () => {
      const answer = await call<Answer>("POST", "/admin/master-keys/rotate");
      changed(["admin"]);
      toast(`Keys are made under the master key ${answer.masterKey.id} from now on. Back it up.`);
      loaded.reload();
    },
  });
}

function retire(key: MasterKey, loaded: Loaded<readonly MasterKey[]>): void {
  ask({
    title: `Retire the master key ${key.id}?`,
    text: (
      <>
        <p>
          This revokes <strong>{counted(key.keysLive, "live key")}</strong> that {key.keysLive === 1 ? "was" : "were"} made under it and cuts their streams, at once.
        </p>
        <p>It never comes back, not even when its file is put back. This can't be undone.</p>
      </>
    ),
    action: "Retire",
    typed: key.id,
    run: async () => {
      const answer = await call<Answer>("POST", path`/admin/master-keys/${key.id}/retire`);
      changed(["admin", "keys"]);
      toast(`The master key ${key.id} is retired; ${counted(answer.keysEnded ?? 0, "key")} ended with it.`);
      loaded.reload();
    },
  });
}
