// The audit log, newest first: who did what, when and from where.

import { useState } from "preact/hooks";
import { call, callBlob } from "../api/client";
import type { AuditEntry } from "../api/types";
import { asApiError } from "../load";
import { Link, place, setQuery } from "../router";
import { may, self } from "../session";
import { Button } from "../ui/button";
import { DateField } from "../ui/date-field";
import { download } from "../ui/download";
import { Select } from "../ui/field";
import { Page } from "../ui/page";
import { type PageOf, usePaged } from "../ui/paged";
import { Empty } from "../ui/state";
import { type Column, Table } from "../ui/table";
import { Ago, Name, Time } from "../ui/text";
import { toast } from "../ui/toast";
import { TypedField } from "../ui/typed-field";
import { ACTIONS } from "./actions";
import { detailOf, summaryOf } from "./detail";
import { ActionLink } from "./entry-link";
import { entryPath } from "./entry-path";
import { FindPanel } from "./find-panel";
import { VerifyPanel } from "./verify-panel";

const PAGE = 100;

export function AuditPage() {
  const [open, setOpen] = useState<"verify" | "find" | null>(null);
  const turn = (panel: "verify" | "find") => setOpen(open === panel ? null : panel);
  return (
    <Page
      title="Audit log"
      actions={
        <>
          {may("audit.export") && <ExportButtons />}
          {may("audit.export") && (
            <Button aria-expanded={open === "find"} onClick={() => turn("find")}>
              Find a token
            </Button>
          )}
          <Button aria-expanded={open === "verify"} onClick={() => turn("verify")}>
            Verify
          </Button>
        </>
      }
    >
      {open === "find" && <FindPanel />}
      {open === "verify" && <VerifyPanel />}
      <Filters />
      <Entries />
    </Page>
  );
}

function ExportButtons() {
  const [isBusy, setBusy] = useState(false);
  const save = async (format: "jsonl" | "csv"): Promise<void> => {
    setBusy(true);
    try {
      const file = `till-audit-${new Date().toISOString().slice(0, 10)}.${format}`;
      download([await callBlob("/admin/audit/export", { query: { format } })], file, "application/octet-stream");
      toast(`The whole log is in ${file}, with a signature over it. Check it anywhere with: till audit verify ${file}`);
    } catch (error) {
      toast(asApiError(error).message, "error");
    }
    setBusy(false);
  };
  return (
    <>
      <Button busy={isBusy} onClick={() => void save("jsonl")}>
        Export JSONL
      </Button>
      <Button busy={isBusy} onClick={() => void save("csv")}>
        Export CSV
      </Button>
    </>
  );
}

const FILTERS = ["action", "actor", "target", "project", "from", "to"] as const;

function Filters() {
  const { query } = place.value;
  const get = (name: string): string => query.get(name) ?? "";
  const action = get("action");
  const choices = ACTIONS.some((one) => one.value === action) ? ACTIONS : [...ACTIONS, { value: action, label: action }];
  const hasAny = FILTERS.some((name) => get(name) !== "");
  return (
    <div class="filters pairs" role="search" aria-label="Entries">
      <Select label="Action" value={action} choices={choices} onChange={(value) => setQuery({ action: value })} />
      <Typed name="actor" label="Who (id)" placeholder="owner, mem_…, tok_…" />
      <Typed name="target" label="About (id)" placeholder="key_…, a name" />
      {self.value?.project == null && <Typed name="project" label="Project" placeholder="any" />}
      <Moment name="from" label="From" />
      <Moment name="to" label="Before" />
      {hasAny && <Button onClick={() => setQuery(Object.fromEntries(FILTERS.map((name) => [name, null])))}>Clear filters</Button>}
    </div>
  );
}

/** A filter of the address. */
function Typed({ name, label, placeholder }: { readonly name: string; readonly label: string; readonly placeholder: string }) {
  return <TypedField label={label} value={place.value.query.get(name) ?? ""} onDone={(value) => setQuery({ [name]: value })} placeholder={placeholder} />;
}

/** A time in the zone of the browser; the address has it in UTC. */
function Moment({ name, label }: { readonly name: string; readonly label: string }) {
  const at = Date.parse(place.value.query.get(name) ?? "");
  const zone = new Date(at).getTimezoneOffset() * 60_000;
  const value = Number.isNaN(at) ? "" : new Date(at - zone).toISOString().slice(0, 16);
  const change = (text: string) => {
    const wanted = Date.parse(text);
    setQuery({ [name]: Number.isNaN(wanted) ? null : new Date(wanted).toISOString() });
  };
  return <DateField label={label} type="datetime-local" value={value} onDone={change} />;
}

const time = (text: string | null): string | undefined => (text !== null && !Number.isNaN(Date.parse(text)) ? text : undefined);

function Entries() {
  const { query } = place.value;
  const asked = {
    action: query.get("action"),
    actor: query.get("actor"),
    target: query.get("target"),
    project: query.get("project"),
    from: time(query.get("from")),
    to: time(query.get("to")),
  };
  const load = async (cursor: string | null, signal: AbortSignal): Promise<PageOf<AuditEntry>> => {
    const answer = await call<{ entries: AuditEntry[]; nextAfter: number }>("GET", "/admin/audit", {
      query: { ...asked, order: "desc", limit: PAGE, after: cursor },
      signal,
    });
    return { rows: answer.entries, next: answer.entries.length < PAGE ? null : String(answer.nextAfter) };
  };
  const paged = usePaged(load, (entry) => String(entry.seq), [JSON.stringify(asked)], ["audit"]);
  const hasFilters = Object.values(asked).some(Boolean);
  return (
    <Table
      label="Entries of the audit log, newest first"
      columns={COLUMNS}
      rows={paged.rows}
      rowHeight={48}
      id={(entry) => String(entry.seq)}
      more={paged.more}
      onMore={paged.onMore}
      onView={paged.onView}
      isLoading={paged.isLoading}
      error={paged.error}
      onRetry={paged.reload}
      empty={
        hasFilters ? (
          <Empty title="No entry fits these filters.">
            <p>An id has to be whole; an action can end with *, as in key.*</p>
          </Empty>
        ) : (
          <Empty title="There is nothing in the log that you may see yet." />
        )
      }
    />
  );
}

const COLUMNS: readonly Column<AuditEntry>[] = [
  { id: "seq", title: "Entry", width: "5rem", align: "end", isMinor: true, cell: (entry) => <Link to={entryPath(entry.seq)}>{entry.seq}</Link> },
  { id: "at", title: "When", width: "minmax(11.5rem, 0.8fr)", isMinor: true, cell: (entry) => <Time at={entry.at} seconds /> },
  {
    id: "action",
    title: "Action",
    width: "minmax(8rem, 0.8fr)",
    cell: (entry) => (
      <>
        <ActionLink of={entry} />
        <small class="phone-only">
          <Ago at={entry.at} />
        </small>
      </>
    ),
  },
  { id: "actor", title: "Who", width: "minmax(7rem, 0.8fr)", isMinor: true, cell: (entry) => <Name text={entry.actor.id} max={60} /> },
  { id: "target", title: "About", width: "minmax(7rem, 1fr)", cell: (entry) => <Name text={entry.target} max={80} /> },
  { id: "detail", title: "Detail", width: "minmax(10rem, 2fr)", isMinor: true, cell: (entry) => <Name text={summaryOf(detailOf(entry.detail))} max={160} /> },
];
