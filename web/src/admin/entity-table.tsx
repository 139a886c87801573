// A list of what is administered, newest first, page by page.

import type { ComponentChildren } from "preact";
import { call } from "../api/client";
import type { Permission } from "../api/types";
import { place, setQuery } from "../router";
import { may } from "../session";
import { Checkbox } from "../ui/field";
import { Panel } from "../ui/page";
import { usePaged } from "../ui/paged";
import { type Column, Table } from "../ui/table";

interface Props<Row> {
  readonly title: string;
  /** Where they are in the API, and under which name the answer has them. */
  readonly at: string;
  readonly field: string;
  readonly id: (row: Row) => string;
  readonly columns: readonly Column<Row>[];
  /** What those that are not any more are called: `Show ended projects`. */
  readonly ended: string;
  readonly empty: ComponentChildren;
  readonly create?: ComponentChildren;
  readonly mayCreate: Permission;
  readonly rowHeight?: number;
}

const PAGE = 100;

export function EntityTable<Row>({ title, at, field, id, columns, ended, empty, create, mayCreate, rowHeight = 44 }: Props<Row>) {
  const hasEnded = place.value.query.get("ended") === "1";
  const paged = usePaged<Row>(
    async (cursor, signal) => {
      const answer = await call<Readonly<Record<string, unknown>>>("GET", at, { query: { limit: PAGE, cursor, ended: hasEnded || null }, signal });
      const next = answer["nextCursor"];
      return { rows: (answer[field] ?? []) as readonly Row[], next: typeof next === "string" ? next : null };
    },
    id,
    [at, hasEnded],
    ["admin"],
  );
  return (
    <Panel title={title} actions={may(mayCreate) ? create : null}>
      <Checkbox label={ended} checked={hasEnded} onChange={(checked) => setQuery({ ended: checked ? "1" : null })} />
      <Table
        label={title}
        columns={columns}
        rows={paged.rows}
        id={id}
        rowHeight={rowHeight}
        more={paged.more}
        onMore={paged.onMore}
        onView={paged.onView}
        isLoading={paged.isLoading}
        error={paged.error}
        onRetry={paged.reload}
        empty={empty}
      />
    </Panel>
  );
}
