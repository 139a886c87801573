// All keys: to search, to sort, to filter, and to stop, one or many at once.

import { useEffect, useMemo, useState } from "preact/hooks";
import { call } from "../api/client";
import { type Key, KEY_STATUSES, type KeyList, type Project, type Provider } from "../api/types";
import { counted, whole } from "../format/number";
import { useLoad } from "../load";
import { Link, place, setQuery } from "../router";
import { may } from "../session";
import { Button } from "../ui/button";
import { LimitBars } from "../ui/bar";
import { Select, TextField } from "../ui/field";
import { Page } from "../ui/page";
import { usePaged } from "../ui/paged";
import { Empty } from "../ui/state";
import { Status } from "../ui/status";
import { type Column, type Order, Table } from "../ui/table";
import { Ago, Code, Name } from "../ui/text";
import { askRevokeMatching, changeMany, PAUSE, RESUME, REVOKE } from "./bulk";
import { KeyLink } from "./key-link";
import { mayChange } from "./may-change";
import { nameOf } from "./name";

const PAGE_SIZE = 100;

/** A row has room for three bars. */
const ROW_HEIGHT = 60;

/** Who made them and what they were minted from can't be chosen here: pages of administration link to those. */
const FILTERS = ["search", "status", "provider", "project", "created_by", "upstream"] as const;

export function KeysPage() {
  const { query } = place.value;
  const filter = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""])) as Record<(typeof FILTERS)[number], string>;
  const order: Order = { by: query.get("sort") ?? "created", ascending: query.get("order") === "asc" };
  const [selected, setSelected] = useState<ReadonlyMap<string, Key>>(new Map());
  const wanted = { ...filter, sort: order.by, order: order.ascending ? "asc" : "desc" };
  const deps = Object.values(wanted);

  const keys = usePaged<Key>(
    async (cursor, signal) => {
      const answer = await call<KeyList>("GET", "/admin/keys", { query: { ...wanted, limit: PAGE_SIZE, cursor }, signal });
      return { rows: answer.keys, next: answer.nextCursor ?? null };
    },
    (key) => key.id,
    deps,
    ["keys", "usage"],
  );
  useEffect(() => setSelected(new Map()), deps);

  const toggle = (key: Key) => {
    const next = new Map(selected);
    if (!next.delete(key.id)) next.set(key.id, key);
    setSelected(next);
  };
  const changeable = keys.rows.filter((key) => mayChange(key) && key.status !== "revoked");
  const isAllSelected = changeable.length > 0 && changeable.every((key) => selected.has(key.id));
  const toggleAll = () => setSelected(isAllSelected ? new Map() : new Map(changeable.map((key) => [key.id, key])));

  const columns = useMemo(() => columnsOf({ selected, toggle, isAllSelected, toggleAll }), [selected, keys.rows]);
  const isFiltered = FILTERS.some((name) => filter[name] !== "");
  return (
    <Page
      title="Keys"
      actions={
        may("keys.create") && (
          <Link to="/keys/new" class="button main">
            Create a key
          </Link>
        )
      }
    >
      <Filters filter={filter} />
      {may("keys.write") && (
        <Bulk
          selected={[...selected.values()]}
          filter={filter}
          onDone={() => {
            setSelected(new Map());
            keys.reload();
          }}
        />
      )}
      <Table
        label="Keys"
        columns={columns}
        rows={keys.rows}
        id={(key) => key.id}
        rowHeight={ROW_HEIGHT}
        height="calc(100vh - 17rem)"
        order={order}
        onOrder={({ by, ascending }) => setQuery({ sort: by, order: ascending ? "asc" : null })}
        more={keys.more}
        onMore={keys.onMore}
        onView={keys.onView}
        isLoading={keys.isLoading}
        error={keys.error}
        onRetry={keys.reload}
        isSelected={(key) => selected.has(key.id)}
        empty={<NoKeys isFiltered={isFiltered} />}
      />
      <p class="hint" role="status">
        {keys.rows.length > 0 && `${counted(keys.rows.length, "key")} shown${keys.more ? ", more as you scroll" : ""}`}
      </p>
    </Page>
  );
}

function NoKeys({ isFiltered }: { readonly isFiltered: boolean }) {
  if (isFiltered) {
    return (
      <Empty title="No key is like that.">
        <Button onClick={() => setQuery(Object.fromEntries(FILTERS.map((name) => [name, null])))}>Show all keys</Button>
      </Empty>
    );
  }
  return (
    <Empty title="There are no keys yet.">
      <p>
        A scoped key works like the real key until one of its limits is reached.{" "}
        {may("keys.create") && <Link to="/keys/new">Create the first one</Link>}
      </p>
    </Empty>
  );
}

interface FiltersProps {
  readonly filter: Readonly<Record<(typeof FILTERS)[number], string>>;
}

function Filters({ filter }: FiltersProps) {
  const [search, setSearch] = useState(filter.search);
  useEffect(() => setSearch(filter.search), [filter.search]);
  useEffect(() => {
    if (search === filter.search) return undefined;
    const timer = setTimeout(() => setQuery({ search }), 250);
    return () => clearTimeout(timer);
  }, [search]);
  const providers = useLoad(async (signal) => (await call<{ providers: readonly Provider[] }>("GET", "/admin/providers", { signal })).providers, []);
  const projects = useLoad(
    async (signal) => (await call<{ projects: readonly Project[] }>("GET", "/admin/projects", { query: { limit: 1000 }, signal })).projects,
    [],
    ["admin"],
  );
  const all = (label: string) => ({ value: "", label });
  return (
    <search class="filters">
      <div class="grow">
        <TextField label="Search" type="search" value={search} onInput={setSearch} placeholder="Name, or the start of an id" maxLength={256} />
      </div>
      <Select
        label="State"
        value={filter.status}
        choices={[all("Any"), ...KEY_STATUSES.map((status) => ({ value: status, label: status }))]}
        onChange={(status) => setQuery({ status })}
      />
      <Select
        label="Provider"
        value={filter.provider}
        choices={[all("Any"), ...(providers.data ?? []).map((one) => ({ value: one.id, label: one.name }))]}
        onChange={(provider) => setQuery({ provider })}
      />
      {(projects.data?.length ?? 0) > 1 && (
        <Select
          label="Project"
          value={filter.project}
          choices={[all("Any"), ...(projects.data ?? []).map((one) => ({ value: one.id, label: one.name || one.id }))]}
          onChange={(project) => setQuery({ project })}
        />
      )}
      {filter.created_by !== "" && <Button onClick={() => setQuery({ created_by: null })}>{`Made by ${filter.created_by} ×`}</Button>}
      {filter.upstream !== "" && <Button onClick={() => setQuery({ upstream: null })}>{`Minted from ${filter.upstream} ×`}</Button>}
    </search>
  );
}

interface BulkProps {
  readonly selected: readonly Key[];
  readonly filter: FiltersProps["filter"];
  readonly onDone: () => void;
}

function Bulk({ selected, filter, onDone }: BulkProps) {
  const pausable = selected.filter((key) => key.pausedAt === null && key.status !== "revoked");
  const resumable = selected.filter((key) => key.pausedAt !== null && key.status !== "revoked");
  const revocable = selected.filter((key) => key.status !== "revoked");
  const canMatch = filter.search === "" && filter.created_by === "" && filter.upstream === "" && (filter.status !== "" || filter.provider !== "" || filter.project !== "");
  return (
    <div class="actions bulk" role="group" aria-label="With the selected keys">
      <span class="muted">{selected.length === 0 ? "None selected" : `${whole(selected.length)} selected`}</span>
      <Button disabled={pausable.length === 0} onClick={() => changeMany(PAUSE, pausable, onDone)}>
        Pause
      </Button>
      <Button disabled={resumable.length === 0} onClick={() => changeMany(RESUME, resumable, onDone)}>
        Resume
      </Button>
      <Button disabled={revocable.length === 0} onClick={() => changeMany(REVOKE, revocable, onDone)}>
        Revoke
      </Button>
      {canMatch && (
        <Button kind="quiet" onClick={() => askRevokeMatching(filter, onDone)}>
          Revoke all that match
        </Button>
      )}
    </div>
  );
}

interface Selection {
  readonly selected: ReadonlyMap<string, Key>;
  readonly toggle: (key: Key) => void;
  readonly isAllSelected: boolean;
  readonly toggleAll: () => void;
}

function columnsOf({ selected, toggle, isAllSelected, toggleAll }: Selection): readonly Column<Key>[] {
  const select: Column<Key> = {
    id: "select",
    title: "Select",
    header: <input type="checkbox" aria-label="Select all that are shown" checked={isAllSelected} onChange={toggleAll} />,
    width: "2.5rem",
    cell: (key) =>
      mayChange(key) &&
      key.status !== "revoked" && (
        <input type="checkbox" aria-label={`Select ${nameOf(key) ?? key.id}`} checked={selected.has(key.id)} onChange={() => toggle(key)} />
      ),
  };
  const rest: readonly Column<Key>[] = [
    {
      id: "name",
      title: "Key",
      width: "minmax(10rem, 2fr)",
      cell: (key) => (
        <>
          <KeyLink of={key} />
          {nameOf(key) !== null && (
            <small class="under minor">
              <Code>{key.id}</Code>
            </small>
          )}
          <span class="phone">
            <Status status={key.status} />
          </span>
        </>
      ),
    },
    { id: "status", title: "State", width: "7.5rem", isMinor: true, cell: (key) => <Status status={key.status} /> },
    { id: "limits", title: "Used of its limits", width: "minmax(12rem, 2fr)", cell: (key) => <LimitBars of={key} /> },
    { id: "provider", title: "Provider", width: "minmax(6rem, 1fr)", isMinor: true, cell: (key) => <Name text={key.provider} max={40} /> },
    { id: "project", title: "Project", width: "minmax(6rem, 1fr)", isMinor: true, cell: (key) => <Name text={key.tenantId} max={40} /> },
    { id: "used", title: "Last used", width: "8rem", sort: "last_used", isMinor: true, cell: (key) => <Ago at={key.lastUsedAt} /> },
    { id: "ends", title: "Ends", width: "8rem", sort: "expires", isMinor: true, cell: (key) => <Ago at={key.expiresAt} none="never" /> },
    { id: "created", title: "Created", width: "8rem", sort: "created", isMinor: true, cell: (key) => <Ago at={key.createdAt} /> },
  ];
  return may("keys.write") ? [select, ...rest] : rest;
}
