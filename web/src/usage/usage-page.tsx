// What was used, by whom and when: a range of days, told apart by one thing, as a chart, as a table, and as a file.

import { useMemo, useState } from "preact/hooks";
import { call, type Query } from "../api/client";
import type { DenialSum, Project, Provider, UsageGroup, UsageSum } from "../api/types";
import { nanos, share, usd, usdExact } from "../format/money";
import { compact, counted, percent, whole } from "../format/number";
import { useKeyNames } from "../keys/key-names";
import { useLoad } from "../load";
import { Link, place, setQuery } from "../router";
import { may, self } from "../session";
import { Button } from "../ui/button";
import { Chart } from "../ui/chart";
import { DateField } from "../ui/date-field";
import { Segments, Select } from "../ui/field";
import { GROUPS, labelOf } from "../ui/groups";
import { Page, Panel } from "../ui/page";
import { axis, MEASURES, type Measure, seriesOf } from "../ui/series";
import { Empty, Show } from "../ui/state";
import { Stat } from "../ui/status";
import { type Column, type Order, PlainTable, Table } from "../ui/table";
import { Name } from "../ui/text";
import { TypedField } from "../ui/typed-field";
import { idOf } from "./export";
import { ExportMenu } from "./export-menu";
import { daysOf, isDay, PRESETS, type Range, rangeOf, timesOf } from "./range";

const ALL_GROUPS = [...GROUPS, { value: "endpoint", label: "Endpoint" } as const];

const PLURALS: Readonly<Record<UsageGroup, string>> = { project: "projects", provider: "providers", model: "models", key: "keys", endpoint: "endpoints" };

/** As many as there are colours, with the rest as one. */
const TOP_CHART = 7;
/** As many as the API tells apart at most. */
const TOP_TABLE = 1000;

const FILTERS = ["project", "provider", "model", "key"] as const;
type Filter = (typeof FILTERS)[number];
type Filters = Readonly<Record<Filter, string>>;

const isFilter = (group: UsageGroup): group is Filter => group !== "endpoint";

export function UsagePage() {
  const { query } = place.value;
  const { preset, range } = rangeOf(query);
  const isBound = self.value?.project != null;
  const group = ALL_GROUPS.find((one) => one.value === query.get("by"))?.value ?? "model";
  const measure = MEASURES.find((one) => one.value === query.get("show"))?.value ?? "spend";
  const filters: Filters = {
    project: query.get("project") ?? "",
    provider: query.get("provider") ?? "",
    model: query.get("model") ?? "",
    key: query.get("key") ?? "",
  };
  const asked: Query = { ...filters, ...timesOf(range) };
  const groups = ALL_GROUPS.filter((one) => !isBound || one.value !== "project");
  return (
    <Page title="Usage" actions={<ExportMenu asked={asked} group={group} range={range} />}>
      <RangeFields preset={preset} range={range} />
      <FilterFields filters={filters} isBound={isBound} />
      <Totals asked={asked} />
      <Panel
        title="Over time"
        actions={
          <>
            <Segments label="Tell apart by" value={group} choices={groups} onChange={(by) => setQuery({ by })} />
            <Segments label="Show" value={measure} choices={MEASURES} onChange={(show) => setQuery({ show })} />
          </>
        }
      >
        <OverTime asked={asked} range={range} group={group} measure={measure} />
      </Panel>
      <Panel title={`By ${group}`}>
        <ByGroup asked={asked} group={group} />
      </Panel>
      <Panel title="Denied calls by reason">
        <Denials asked={asked} />
      </Panel>
    </Page>
  );
}

function RangeFields({ preset, range }: { readonly preset: string; readonly range: Range }) {
  const change = (value: string) => setQuery(value === "custom" ? { range: value, ...range } : { range: value, from: null, to: null });
  const day = (name: "from" | "to") => (value: string) => {
    if (!isDay(value)) return;
    const next = { ...range, [name]: value };
    // The other end moves along where they would cross.
    setQuery({ range: "custom", from: next.from > next.to ? value : next.from, to: next.from > next.to ? value : next.to });
  };
  return (
    <div class="filters pairs">
      <Segments label="Time range" value={preset} choices={PRESETS} onChange={change} />
      {preset === "custom" && (
        <>
          <DateField label="From (UTC day)" type="date" value={range.from} onDone={day("from")} />
          <DateField label="To (UTC day)" type="date" value={range.to} onDone={day("to")} />
        </>
      )}
      <small>
        {range.from === range.to ? range.from : `${range.from} to ${range.to}`}, whole days in UTC
      </small>
    </div>
  );
}

function FilterFields({ filters, isBound }: { readonly filters: Filters; readonly isBound: boolean }) {
  const projects = useLoad(
    async (signal) => (isBound || !may("projects.read") ? [] : (await call<{ projects: Project[] }>("GET", "/admin/projects", { query: { limit: 1000, ended: true }, signal })).projects),
    [isBound],
    ["admin"],
  );
  const providers = useLoad(async (signal) => (await call<{ providers: Provider[] }>("GET", "/admin/providers", { signal })).providers, []);
  const hasAny = FILTERS.some((name) => filters[name] !== "");
  const known = (list: readonly { readonly value: string; readonly label: string }[], value: string) =>
    value === "" || list.some((one) => one.value === value) ? list : [...list, { value, label: value }];
  return (
    <div class="filters pairs">
      {!isBound && (
        <Select
          label="Project"
          value={filters.project}
          choices={known([{ value: "", label: "All projects" }, ...(projects.data ?? []).map(({ id }) => ({ value: id, label: id }))], filters.project)}
          onChange={(project) => setQuery({ project })}
        />
      )}
      <Select
        label="Provider"
        value={filters.provider}
        choices={known([{ value: "", label: "All providers" }, ...(providers.data ?? []).map(({ id, name }) => ({ value: id, label: name }))], filters.provider)}
        onChange={(provider) => setQuery({ provider })}
      />
      <TypedField label="Model" value={filters.model} onDone={(model) => setQuery({ model })} placeholder="any; the whole name" />
      <TypedField label="Key id" value={filters.key} onDone={(key) => setQuery({ key })} placeholder="any; key_…" />
      {hasAny && <Button onClick={() => setQuery({ project: null, provider: null, model: null, key: null })}>Clear filters</Button>}
    </div>
  );
}

const deps = (asked: Query): readonly unknown[] => [JSON.stringify(asked)];

async function sumsOf(asked: Query, more: Query, signal: AbortSignal): Promise<readonly UsageSum[]> {
  return (await call<{ sums: UsageSum[] }>("GET", "/admin/usage/summary", { query: { ...asked, ...more }, signal })).sums;
}

function Totals({ asked }: { readonly asked: Query }) {
  const loaded = useLoad((signal) => sumsOf(asked, {}, signal), deps(asked), ["usage"], 5000);
  return (
    <Show loaded={loaded}>
      {([sum]) => (
        <dl class="stats">
          <Stat label="Spend" value={usd(sum?.chargedUsd ?? "0")} title={usdExact(sum?.chargedUsd ?? "0")} />
          <Stat label="Calls" value={compact(sum?.calls ?? 0)} title={`${whole(sum?.calls ?? 0)} calls that were let through`} />
          <Stat label="Input" value={`${compact(sum?.tokens.input ?? 0)} tok`} detail={`${compact(sum?.tokens.cacheRead ?? 0)} from a cache`} title={`${whole(sum?.tokens.input ?? 0)} tokens`} />
          <Stat label="Output" value={`${compact(sum?.tokens.output ?? 0)} tok`} detail={`${compact(sum?.tokens.reasoning ?? 0)} for reasoning`} title={`${whole(sum?.tokens.output ?? 0)} tokens`} />
        </dl>
      )}
    </Show>
  );
}

interface GroupProps {
  readonly asked: Query;
  readonly group: UsageGroup;
}

function useLabels(sums: readonly UsageSum[] | null, group: UsageGroup): (sum: UsageSum) => string {
  const ids = group === "key" ? (sums ?? []).flatMap((sum) => sum.keyId ?? []) : [];
  return labelOf(group, useKeyNames(ids));
}

function OverTime({ asked, range, group, measure }: GroupProps & { readonly range: Range; readonly measure: Measure }) {
  const loaded = useLoad((signal) => sumsOf(asked, { group_by: `day,${group}`, top: TOP_CHART }, signal), [...deps(asked), group], ["usage"], 5000);
  const label = useLabels(loaded.data, group);
  const days = useMemo(() => daysOf(range), [range.from, range.to]);
  const names = (loaded.data ?? []).map(label).join("\n");
  const series = useMemo(() => seriesOf(loaded.data ?? [], days, measure, label), [loaded.data, days, measure, names]);
  return (
    <Show loaded={loaded}>
      {(sums) =>
        sums.length === 0 ? (
          <NothingUsed />
        ) : (
          <Chart label={`${measure} per day by ${group}`} places={days} series={series} unit={axis(measure)} height={260} />
        )
      }
    </Show>
  );
}

function NothingUsed() {
  return (
    <Empty title="No call was let through in these days.">
      <p>Choose another time range or fewer filters, or make a call with a scoped key.</p>
    </Empty>
  );
}

type Sortable = "spend" | "calls" | "input" | "output";

const SIZE: Readonly<Record<Sortable, (sum: UsageSum) => bigint>> = {
  spend: (sum) => nanos(sum.chargedUsd) ?? 0n,
  calls: (sum) => BigInt(sum.calls),
  input: (sum) => BigInt(sum.tokens.input),
  output: (sum) => BigInt(sum.tokens.output),
};

function ByGroup({ asked, group }: GroupProps) {
  const [order, setOrder] = useState<Order>({ by: "spend", ascending: false });
  const [view, setView] = useState<readonly [number, number]>([0, 20]);
  const loaded = useLoad((signal) => sumsOf(asked, { group_by: group, top: TOP_TABLE }, signal), [...deps(asked), group], ["usage"], 5000);
  const rows = useMemo(() => {
    const size = SIZE[order.by as Sortable] ?? SIZE.spend;
    const sign = order.ascending ? 1 : -1;
    const compare = (one: UsageSum, other: UsageSum): number => {
      if (one.rest !== other.rest) return Number(one.rest) - Number(other.rest);
      const [left, right] = [size(one), size(other)];
      return left === right ? 0 : left > right ? sign : -sign;
    };
    return [...(loaded.data ?? [])].sort(compare);
  }, [loaded.data, order]);
  // Only what is in view needs its name.
  const label = useLabels(rows.slice(view[0], view[1]), group);
  const total = rows.reduce((sum, row) => sum + SIZE.spend(row), 0n);
  const columns: readonly Column<UsageSum>[] = [
    { id: "name", title: group[0]?.toUpperCase() + group.slice(1), width: "minmax(9rem, 1.4fr)", cell: (sum) => <GroupCell sum={sum} group={group} label={label(sum)} /> },
    { id: "spend", title: "Spend", width: "minmax(5.5rem, 1fr)", align: "end", sort: "spend", cell: (sum) => <span title={usdExact(sum.chargedUsd)}>{usd(sum.chargedUsd)}</span> },
    { id: "share", title: "Share", width: "minmax(4rem, 0.6fr)", align: "end", isMinor: true, cell: (sum) => (total === 0n ? "–" : percent(share(sum.chargedUsd, `${total / 1_000_000_000n}.${String(total % 1_000_000_000n).padStart(9, "0")}`))) },
    { id: "calls", title: "Calls", width: "minmax(5rem, 1fr)", align: "end", sort: "calls", cell: (sum) => <span title={`${whole(sum.calls)} calls`}>{compact(sum.calls)}</span> },
    { id: "input", title: "Input tokens", width: "minmax(6rem, 1fr)", align: "end", sort: "input", isMinor: true, cell: (sum) => <span title={whole(sum.tokens.input)}>{compact(sum.tokens.input)}</span> },
    { id: "output", title: "Output tokens", width: "minmax(6rem, 1fr)", align: "end", sort: "output", isMinor: true, cell: (sum) => <span title={whole(sum.tokens.output)}>{compact(sum.tokens.output)}</span> },
  ];
  const hasRest = rows.some((row) => row.rest);
  return (
    <>
      {hasRest && (
        <p class="hint">
          The {whole(TOP_TABLE)} dearest {PLURALS[group]}; the others are one row.
        </p>
      )}
      <Table
        label={`Usage by ${group}`}
        columns={columns}
        rows={rows}
        id={(sum) => (sum.rest ? "rest" : `group ${idOf(sum, group)}`)}
        rowHeight={40}
        height="60vh"
        order={order}
        onOrder={setOrder}
        onView={(first, last) => (first !== view[0] || last !== view[1]) && setView([first, last])}
        isLoading={loaded.isLoading}
        error={loaded.error}
        onRetry={loaded.reload}
        empty={<NothingUsed />}
      />
    </>
  );
}

/** What comes behind a choice of this. */
const NEXT: Readonly<Record<Filter, UsageGroup>> = { project: "key", provider: "model", model: "key", key: "model" };

function GroupCell({ sum, group, label }: { readonly sum: UsageSum; readonly group: UsageGroup; readonly label: string }) {
  if (sum.rest) return <span class="muted">all others</span>;
  const id = idOf(sum, group);
  if (id === "") return <span class="muted">{label}</span>;
  if (!isFilter(group)) return <Name text={label} max={80} />;
  const query = new URLSearchParams(place.value.query);
  query.set(group, id);
  query.set("by", NEXT[group]);
  return (
    <span class="pair">
      <Link to={`/usage?${query.toString()}`} title={`Only this ${group}`}>
        <Name text={label} max={80} />
      </Link>
      {group === "key" && (
        <>
          {" "}
          <Link to={`/keys/${encodeURIComponent(id)}`} class="aside" aria-label={`Page of the key ${label}`}>
            Page
          </Link>
        </>
      )}
    </span>
  );
}

function Denials({ asked }: { readonly asked: Query }) {
  const { project, key, since, until, provider, model } = asked;
  const query: Query = { project, key, since, until, group_by: "code" };
  const loaded = useLoad(
    async (signal) => (await call<{ sums: DenialSum[] }>("GET", "/admin/denials/summary", { query, signal })).sums,
    deps(query),
    ["usage"],
    5000,
  );
  return (
    <>
      {(provider || model) && <p class="hint">Denials are not told apart by provider and model: these are those of all of them.</p>}
      <Show loaded={loaded}>
        {(sums) =>
          sums.length === 0 ? (
            <Empty title="No call was denied in these days." />
          ) : (
            <>
              <p>{counted(sums.reduce((sum, one) => sum + one.count, 0), "call")} of known keys refused by till before anything was sent.</p>
              <PlainTable
                label="Reasons and how often"
                columns={[
                  { id: "code", title: "Reason", width: "", cell: (sum: DenialSum) => <code>{sum.code ?? "not known"}</code> },
                  { id: "count", title: "Calls", width: "", align: "end", cell: (sum: DenialSum) => whole(sum.count) },
                ]}
                rows={sums}
                id={(sum) => sum.code ?? ""}
              />
            </>
          )
        }
      </Show>
    </>
  );
}
