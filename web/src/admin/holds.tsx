// Holds that a crash left open: what became of their calls is not known, so they are spent.

import { call, path } from "../api/client";
import type { Hold, HoldList } from "../api/admin-types";
import { usd, usdExact } from "../format/money";
import { compact, counted, whole } from "../format/number";
import { useKeyNames } from "../keys/key-names";
import { changed } from "../live";
import { Link } from "../router";
import { may } from "../session";
import { Button } from "../ui/button";
import { ask } from "../ui/dialog";
import { Panel } from "../ui/page";
import { usePaged } from "../ui/paged";
import { Empty } from "../ui/state";
import { type Column, Table } from "../ui/table";
import { Code, Name, Time } from "../ui/text";
import { toast } from "../ui/toast";

const PAGE = 100;

export function Holds() {
  const paged = usePaged<Hold>(
    async (before, signal) => {
      const answer = await call<HoldList>("GET", "/admin/holds", { query: { limit: PAGE, before }, signal });
      return { rows: answer.holds, next: answer.nextBefore };
    },
    (hold) => hold.id,
    [],
    ["admin", "audit"],
  );
  const names = useKeyNames(paged.rows.slice(0, 20).map((hold) => hold.keyId));
  const columns: readonly Column<Hold>[] = [
    { id: "id", title: "Hold", width: "minmax(6rem, 0.7fr)", isMinor: true, cell: (hold) => <Code>{hold.id}</Code> },
    {
      id: "key",
      title: "Key",
      width: "minmax(6rem, 1.2fr)",
      cell: (hold) => (
        <Link to={`/keys/${encodeURIComponent(hold.keyId)}`}>
          <Name text={names.get(hold.keyId) ?? hold.keyId} max={60} />
        </Link>
      ),
    },
    { id: "at", title: "Since", width: "minmax(11.5rem, 1fr)", isMinor: true, cell: (hold) => <Time at={hold.at} seconds /> },
    { id: "kind", title: "What", width: "minmax(6rem, 0.8fr)", isMinor: true, cell: (hold) => (hold.kind === "request" ? "one call" : "counted out ahead") },
    {
      id: "units",
      title: "Spent for it",
      width: "minmax(12.5rem, 1.2fr)",
      cell: (hold) => (
        <span class="wrap" title={`${whole(hold.activations)} calls, ${whole(hold.tokens)} tokens, ${usdExact(hold.spendUsd)}`}>
          {counted(hold.activations, "call")}, {compact(hold.tokens)} tok, {usd(hold.spendUsd)}
        </span>
      ),
    },
    ...(may("holds.forgive")
      ? [
          {
            id: "act",
            title: "Actions",
            width: "minmax(7.75rem, 1.4fr)",
            cell: (hold: Hold) => (
              <Button onClick={() => forgive(hold, paged.reload)} aria-label={`Forgive ${hold.id}`}>
                Forgive
              </Button>
            ),
          },
        ]
      : []),
  ];
  return (
    <Panel title="Holds left by a crash">
      <p class="prose">
        When till ends without a stop it can't know what became of the calls that were under way. So that no key can use more than its limit, what they could have cost is spent. Where
        you know that a call was not sent or not billed, its hold can be forgiven.
      </p>
      <Table
        label="Holds left by a crash"
        columns={columns}
        rows={paged.rows}
        rowHeight={64}
        id={(hold) => hold.id}
        more={paged.more}
        onMore={paged.onMore}
        onView={paged.onView}
        isLoading={paged.isLoading}
        error={paged.error}
        onRetry={paged.reload}
        empty={
          <Empty title="No crash left anything open.">
            <p>There is nothing to do here.</p>
          </Empty>
        }
      />
    </Panel>
  );
}

function forgive(hold: Hold, reload: () => void): void {
  ask({
    title: `Forgive ${hold.id}?`,
    text: (
      <>
        <p>
          The key <code>{hold.keyId}</code> gets back {counted(hold.activations, "call")}, {whole(hold.tokens)} tokens and {usdExact(hold.spendUsd)}.
        </p>
        <p>
          <strong>If its call was sent and billed after all, the key can use more than its limit.</strong> Look at the provider&apos;s own records first. It is in the audit log and
          can&apos;t be undone.
        </p>
      </>
    ),
    action: "Forgive",
    run: async () => {
      await call("POST", path`/admin/holds/${hold.id}/forgive`);
      changed(["admin", "keys"]);
      toast(`${hold.id} is forgiven.`);
      reload();
    },
  });
}
