// What is being spent, by whom, and how long it will last.

import { useMemo, useState } from "preact/hooks";
import { call } from "../api/client";
import type { Forecast, Key, Overview, Period, UsageGroup, UsageSum } from "../api/types";
import { sumUsd, usd, usdExact } from "../format/money";
import { compact, counted, percent, whole } from "../format/number";
import { lastDays, local, utc } from "../format/time";
import { KeyLink } from "../keys/key-link";
import { type Loaded, useLoad } from "../load";
import { Link, place, setQuery } from "../router";
import { may } from "../session";
import { askStop } from "../admin/stop";
import { LimitBars } from "../ui/bar";
import { Button } from "../ui/button";
import { Chart } from "../ui/chart";
import { Segments } from "../ui/field";
import { Page, Panel } from "../ui/page";
import { GROUPS, labelOf } from "../ui/groups";
import { axis, MEASURES, type Measure, seriesOf } from "../ui/series";
import { Empty, Show } from "../ui/state";
import { Stat } from "../ui/status";
import { PlainTable } from "../ui/table";
import { Ago } from "../ui/text";
import { useKeyNames } from "../keys/key-names";

export function OverviewPage() {
  const loaded = useLoad(
    async (signal) => (await call<{ overview: Overview }>("GET", "/admin/overview", { signal })).overview,
    [],
    ["usage", "keys"],
  );
  return (
    <Page
      title="Overview"
      actions={
        <>
          {may("instance.write") && <Button onClick={askStop}>Stop everything</Button>}
          {may("keys.create") && (
            <Link to="/keys/new" class="button main">
              Create a key
            </Link>
          )}
        </>
      }
    >
      <Figures loaded={loaded} />
      <Over />
      <div class="columns">
        <Panel title="Keys about to run out" actions={<Link to="/keys?status=active&sort=last_used">All live keys</Link>}>
          <Show loaded={loaded}>{(overview) => <RunningOut forecasts={overview.runningOut} />}</Show>
        </Panel>
        <Panel title="Keys about to expire" actions={<Link to="/keys?status=active&sort=expires&order=asc">By their end</Link>}>
          <Show loaded={loaded}>{(overview) => <Expiring keys={overview.expiring} />}</Show>
        </Panel>
      </div>
    </Page>
  );
}

function Figures({ loaded }: { readonly loaded: Loaded<Overview> }) {
  return (
    <Show loaded={loaded}>
      {({ today, month, keys, recent }) => (
        <dl class="stats">
          <Money label="Spend today" of={today} />
          <Money label="Spend this month" of={month} />
          <Stat label="Calls today" value={compact(today.calls)} title={`${whole(today.calls)} calls`} detail={`${counted(month.calls, "call")} this month`} />
          <Stat label="Tokens today" value={compact(today.tokens)} title={`${whole(today.tokens)} tokens`} detail={`${counted(month.tokens, "token")} this month`} />
          <Stat label="Denials today" value={compact(today.denials)} title={`${whole(today.denials)} denials`} detail={`${counted(month.denials, "denial")} this month`} />
          <Stat label="Live keys" value={whole(keys.active)} detail={`${whole(keys.paused)} paused, ${whole(keys.exhausted)} exhausted`} />
          <Stat
            label="Error rate"
            value={recent.calls === 0 ? "–" : percent(recent.failed / recent.calls)}
            detail={recent.calls === 0 ? "no calls yet" : `${whole(recent.failed)} of the last ${whole(recent.calls)} calls`}
            title={recent.since === null ? undefined : `Calls since ${local(recent.since)} (${utc(recent.since)}) that the provider answered with 400 and above, or not at all`}
          />
        </dl>
      )}
    </Show>
  );
}

function Money({ label, of }: { readonly label: string; readonly of: Period }) {
  return <Stat label={label} value={usd(of.chargedUsd)} title={usdExact(of.chargedUsd)} detail="UTC" />;
}

const RANGES = [
  { value: "7", label: "7 days" },
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
];

/** As many as there are colours, with the rest as one. */
const TOP = 7;

function Over() {
  const { query } = place.value;
  const group = GROUPS.find((one) => one.value === query.get("by"))?.value ?? "provider";
  const days = Number(RANGES.find((one) => one.value === query.get("days"))?.value ?? "30");
  const [measure, setMeasure] = useState<Measure>("spend");
  const loaded = useLoad(
    async (signal) => {
      const since = `${lastDays(days)[0] ?? ""}T00:00:00Z`;
      const answer = await call<{ sums: readonly UsageSum[] }>("GET", "/admin/usage/summary", {
        query: { group_by: `day,${group}`, top: TOP, since },
        signal,
      });
      return { sums: answer.sums, places: lastDays(days) };
    },
    [group, days],
    ["usage"],
    5000,
  );
  return (
    <Panel
      title={`${MEASURES.find((one) => one.value === measure)?.label ?? ""} over time`}
      actions={
        <>
          <Segments label="What is shown" value={measure} choices={MEASURES} onChange={(value) => setMeasure(value as Measure)} />
          <Segments label="Told apart by" value={group} choices={GROUPS} onChange={(value) => setQuery({ by: value })} />
          <Segments label="How long" value={String(days)} choices={RANGES} onChange={(value) => setQuery({ days: value })} />
        </>
      }
    >
      <Show loaded={loaded}>{({ sums, places }) => <OverChart sums={sums} places={places} group={group} measure={measure} />}</Show>
    </Panel>
  );
}

interface OverChartProps {
  readonly sums: readonly UsageSum[];
  readonly places: readonly string[];
  readonly group: UsageGroup;
  readonly measure: Measure;
}

function OverChart({ sums, places, group, measure }: OverChartProps) {
  const names = useKeyNames(group === "key" ? sums.flatMap((sum) => sum.keyId ?? []) : []);
  const series = useMemo(() => seriesOf(sums, places, measure, labelOf(group, names)), [sums, places, group, measure, names]);
  if (sums.length === 0) {
    return (
      <Empty title="No calls in this time.">
        <p>
          As soon as a key is used, its calls show here. {may("keys.create") && <Link to="/keys/new">Create a key</Link>}
        </p>
      </Empty>
    );
  }
  const total = sumUsd(sums.map((sum) => sum.chargedUsd));
  return (
    <>
      <p class="hint">
        In all <b title={usdExact(total)}>{usd(total)}</b> and {counted(sums.reduce((all, sum) => all + sum.calls, 0), "call")}; days are UTC.
      </p>
      <Chart label={`${measure} per day by ${group}`} places={places} series={series} unit={axis(measure)} />
    </>
  );
}

const LIMIT = { activations: "calls", tokens: "tokens", spend: "money" } as const;

function RunningOut({ forecasts }: { readonly forecasts: readonly Forecast[] }) {
  if (forecasts.length === 0) return <Empty title="No key will run out within 30 days, if it goes on as in the last day." />;
  return (
    <PlainTable
      label="Keys about to run out"
      rows={forecasts}
      id={(row) => row.key.id}
      columns={[
        { id: "key", title: "Key", width: "", cell: (row) => <KeyLink of={row.key} /> },
        { id: "limits", title: "Limits", width: "", isMinor: true, cell: (row) => <LimitBars of={row.key} /> },
        {
          id: "at",
          title: "Out of",
          width: "",
          cell: (row) => (
            <>
              {LIMIT[row.limit]} <Ago at={row.at} />
            </>
          ),
        },
      ]}
    />
  );
}

function Expiring({ keys }: { readonly keys: readonly Key[] }) {
  if (keys.length === 0) return <Empty title="No live key ends within 7 days." />;
  return (
    <PlainTable
      label="Keys about to expire"
      rows={keys}
      id={(key) => key.id}
      columns={[
        { id: "key", title: "Key", width: "", cell: (key) => <KeyLink of={key} /> },
        { id: "limits", title: "Limits", width: "", isMinor: true, cell: (key) => <LimitBars of={key} /> },
        { id: "end", title: "Ends", width: "", cell: (key) => <Ago at={key.expiresAt} /> },
      ]}
    />
  );
}
