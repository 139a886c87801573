// One key: what it has used, by whom, what it may do, and how to stop it.

import { useMemo, useState } from "preact/hooks";
import { call, callVersioned, path } from "../api/client";
import type { DenialSum, Explanation, Key, UsageList, UsageRecord, UsageSum } from "../api/types";
import { usd, usdExact } from "../format/money";
import { compact, counted, whole } from "../format/number";
import { duration, lastDays, latency } from "../format/time";
import { asApiError, useLoad } from "../load";
import type { PageProps } from "../layout/pages";
import { Link } from "../router";
import { LimitBars } from "../ui/bar";
import { Button, Copy } from "../ui/button";
import { Chart } from "../ui/chart";
import { ask } from "../ui/dialog";
import { Segments, TextArea, TextField } from "../ui/field";
import { Page, Panel } from "../ui/page";
import { usePaged } from "../ui/paged";
import { axis, MEASURES, type Measure, seriesOf } from "../ui/series";
import { Empty, ErrorNote, Loading, Show } from "../ui/state";
import { Status } from "../ui/status";
import { PlainTable, Table } from "../ui/table";
import { Ago, Code, Name, Time } from "../ui/text";
import { toast } from "../ui/toast";
import { PAUSE, RESUME, REVOKE } from "./bulk";
import { KeyEdit } from "./key-edit";
import { mayChange } from "./may-change";
import { called } from "./name";
import { ScopeFacts } from "./scope-builder";

export function KeyPage({ params }: PageProps) {
  const id = params["id"] ?? "";
  const loaded = useLoad(
    async (signal) => {
      const [{ key }, version] = await callVersioned<{ key: Key }>("GET", path`/admin/keys/${id}`, { signal });
      return { key, version };
    },
    [id],
    ["keys", "usage"],
  );
  if (loaded.data === null) {
    return (
      <Page title="Key">
        {loaded.error ? (
          <>
            <ErrorNote error={loaded.error} onRetry={loaded.reload} />
            <Link to="/keys">All keys</Link>
          </>
        ) : (
          <Loading />
        )}
      </Page>
    );
  }
  return <Shown of={loaded.data.key} version={loaded.data.version} reload={loaded.reload} error={loaded.error} />;
}

interface ShownProps {
  readonly of: Key;
  readonly version: string | null;
  readonly reload: () => void;
  readonly error: ReturnType<typeof asApiError> | null;
}

function Shown({ of, version, reload, error }: ShownProps) {
  const [isEditing, setEditing] = useState(false);
  const isOver = of.status === "revoked";
  return (
    <Page
      title={called(of).slice(0, 80)}
      heading={
        <>
          <Name text={called(of)} max={120} /> <Status status={of.status} />
        </>
      }
      actions={mayChange(of) && !isOver && <Actions of={of} reload={reload} onEdit={() => setEditing(true)} />}
    >
      {error && <ErrorNote error={error} onRetry={reload} />}
      {of.pausedReason !== null && of.pausedAt !== null && (
        <p class="warning">
          Paused <Ago at={of.pausedAt} />: <Name text={of.pausedReason} />
        </p>
      )}
      <div class="columns">
        <Panel title="Limits">
          <Limits of={of} />
        </Panel>
        <Panel title="About it">
          <Facts of={of} />
        </Panel>
      </div>
      <Over id={of.id} />
      <Calls id={of.id} />
      <div class="columns">
        <Denied id={of.id} />
        <From id={of.id} />
      </div>
      <div class="columns">
        <Panel title="What it may call">
          <ScopeFacts scope={of.scope} />
        </Panel>
        <Panel title="Would this call pass?">
          <Explain of={of} />
        </Panel>
      </div>
      {Object.keys(of.metadata).length > 0 && (
        <Panel title="Metadata">
          <pre class="metadata" tabIndex={0} aria-label="Metadata as JSON">
            <bdi>{JSON.stringify(of.metadata, null, 2)}</bdi>
          </pre>
        </Panel>
      )}
      {isEditing && (
        <KeyEdit
          of={of}
          version={version}
          onClose={() => setEditing(false)}
          onSaved={() => {
            setEditing(false);
            reload();
          }}
        />
      )}
    </Page>
  );
}

const PAUSED = "Its calls are refused and its streams are cut at once, until somebody resumes it. What it has used stays as it is.";

function Actions({ of, reload, onEdit }: { readonly of: Key; readonly reload: () => void; readonly onEdit: () => void }) {
  const [isBusy, setBusy] = useState(false);
  const isPaused = of.pausedAt !== null;
  const now = async (change: typeof PAUSE, reason: string) => {
    setBusy(true);
    try {
      await change.one(of, reason);
      toast(`The key is ${change.done}.`);
      reload();
    } catch (error) {
      toast(asApiError(error).message, "error");
    }
    setBusy(false);
  };
  const asked = (change: typeof PAUSE, what: string) =>
    ask({
      title: `${change.verb} this key?`,
      text: (
        <>
          <p>
            <Name text={called(of)} max={80} />
          </p>
          <p>{what}</p>
        </>
      ),
      action: `${change.verb} the key`,
      ...(change.reason !== undefined && { reason: "Why it is paused" }),
      run: async (reason) => {
        await change.one(of, reason);
        toast(`The key is ${change.done}.`);
        reload();
      },
    });
  return (
    <>
      <Button onClick={onEdit}>Edit</Button>
      {!isPaused && (
        <Button busy={isBusy} title="Pauses it at once and cuts its streams, without a question: it can be resumed" onClick={() => void now(PAUSE, "stopped at once")}>
          Kill now
        </Button>
      )}
      {/* One button, so that the focus stays on what undoes what was just done. */}
      <Button key="pause" busy={isBusy} kind={isPaused ? "main" : "plain"} onClick={() => (isPaused ? void now(RESUME, "") : asked(PAUSE, PAUSED))}>
        {isPaused ? "Resume" : "Pause"}
      </Button>
      <Button kind="danger" onClick={() => asked(REVOKE, "Its calls are refused and its streams are cut at once. A revoked key never comes back; whoever uses it needs another one.")}>
        Revoke
      </Button>
    </>
  );
}

function Limits({ of }: { readonly of: Key }) {
  return (
    <div class="wide-bars">
      <LimitBars of={of} />
      <dl class="facts spaced">
        <dt>Spent</dt>
        <dd class="number">{usdExact(of.usedSpendUsd)}</dd>
        <dt>Tokens</dt>
        <dd class="number">{whole(of.usedTokens)}</dd>
        <dt>Calls</dt>
        <dd class="number">{whole(of.usedActivations)}</dd>
        <dt>Ends</dt>
        <dd>
          {of.expiresAt === null ? (
            "never"
          ) : (
            <>
              <Time at={of.expiresAt} /> (<Ago at={of.expiresAt} />)
            </>
          )}
          {of.idleExpirySeconds !== null && `, or after ${duration(of.idleExpirySeconds)} without a call`}
        </dd>
        {of.notBefore !== null && (
          <>
            <dt>Begins</dt>
            <dd>
              <Time at={of.notBefore} />
            </dd>
          </>
        )}
        {of.activateBy !== null && (
          <>
            <dt>First call by</dt>
            <dd>
              <Time at={of.activateBy} />
            </dd>
          </>
        )}
        <dt>Rate</dt>
        <dd>{rateText(of)}</dd>
      </dl>
      {of.dangerAllowUnbounded && <p class="warning">Calls pass whose cost nothing bounds: limits in tokens and money can be exceeded.</p>}
    </div>
  );
}

function rateText({ rate }: Key): string {
  const parts = [
    rate.requestsPerMinute !== null && `${whole(rate.requestsPerMinute)} calls per minute`,
    rate.tokensPerMinute !== null && `${whole(rate.tokensPerMinute)} tokens per minute`,
    rate.concurrent !== null && `${whole(rate.concurrent)} at the same time`,
  ].filter((part) => part !== false);
  return parts.length > 0 ? parts.join(", ") : "as often as one likes";
}

function Facts({ of }: { readonly of: Key }) {
  return (
    <dl class="facts">
      <dt>Id</dt>
      <dd>
        <Code>{of.id}</Code> <Copy text={of.id} label="Copy the id" />
      </dd>
      <dt>Provider</dt>
      <dd>
        <Name text={of.provider} /> <small>{of.origin}</small>
      </dd>
      <dt>Real key</dt>
      <dd>{of.upstream === null ? "its own" : <Name text={of.upstream} />}</dd>
      <dt>Project</dt>
      <dd>
        <Name text={of.tenantId} />
      </dd>
      <dt>Made</dt>
      <dd>
        <Time at={of.createdAt} />
        {of.createdBy !== null && (
          <>
            {" by "}
            <Code>{of.createdBy}</Code>
          </>
        )}
      </dd>
      <dt>Last used</dt>
      <dd>
        <Ago at={of.lastUsedAt} />
      </dd>
      {of.revokedAt !== null && (
        <>
          <dt>Revoked</dt>
          <dd>
            <Time at={of.revokedAt} />
          </dd>
        </>
      )}
    </dl>
  );
}

const DAYS = 30;

function Over({ id }: { readonly id: string }) {
  const [measure, setMeasure] = useState<Measure>("spend");
  const loaded = useLoad(
    async (signal) => {
      const places = lastDays(DAYS);
      const query = { group_by: "day,model", top: 7, key: id, since: `${places[0] ?? ""}T00:00:00Z` };
      return { places, ...(await call<{ sums: readonly UsageSum[] }>("GET", "/admin/usage/summary", { query, signal })) };
    },
    [id],
    ["usage"],
    3000,
  );
  const data = loaded.data;
  const series = useMemo(() => (data === null ? [] : seriesOf(data.sums, data.places, measure, (sum) => sum.model || "not known")), [data, measure]);
  return (
    <Panel title={`Last ${DAYS} days by model`} actions={<Segments label="What is shown" value={measure} choices={MEASURES} onChange={(value) => setMeasure(value as Measure)} />}>
      <Show loaded={loaded}>
        {({ sums, places }) =>
          sums.length === 0 ? <Empty title="No calls in this time." /> : <Chart label={`${measure} per day by model`} places={places} series={series} unit={axis(measure)} height={180} />
        }
      </Show>
    </Panel>
  );
}

const CALLS_PAGE = 100;

function Calls({ id }: { readonly id: string }) {
  const [outcome, setOutcome] = useState("");
  const calls = usePaged<UsageRecord>(
    async (cursor, signal) => {
      const query = { key: id, limit: CALLS_PAGE, before: cursor, outcome };
      const answer = await call<UsageList>("GET", "/admin/usage", { query, signal });
      return { rows: answer.records, next: answer.nextBefore === null ? null : String(answer.nextBefore) };
    },
    (record) => String(record.seq),
    [id, outcome],
    ["usage"],
  );
  return (
    <Panel
      title="Recent calls"
      actions={
        <Segments
          label="Which calls"
          value={outcome}
          onChange={setOutcome}
          choices={[
            { value: "", label: "All" },
            { value: "complete", label: "Complete" },
            { value: "denied", label: "Denied" },
          ]}
        />
      }
    >
      <Table
        label="Recent calls"
        rows={calls.rows}
        id={(record) => String(record.seq)}
        rowHeight={40}
        height="26rem"
        more={calls.more}
        onMore={calls.onMore}
        onView={calls.onView}
        isLoading={calls.isLoading}
        error={calls.error}
        onRetry={calls.reload}
        empty={<Empty title="No calls yet.">{outcome === "" && <p>They show here as soon as the key is used.</p>}</Empty>}
        columns={[
          { id: "at", title: "When", width: "11rem", cell: (record) => <Time at={record.at} seconds /> },
          { id: "model", title: "Model or endpoint", width: "minmax(8rem, 2fr)", cell: (record) => <Name text={record.model ?? (record.endpoint || record.method)} max={60} /> },
          { id: "outcome", title: "Result", width: "minmax(7rem, 1.5fr)", cell: (record) => <Result of={record} /> },
          { id: "tokens", title: "Tokens", width: "6rem", align: "end", isMinor: true, cell: (record) => <span title={`${whole(record.tokens.input)} in, ${whole(record.tokens.output)} out`}>{compact(record.tokens.total)}</span> },
          { id: "cost", title: "Cost", width: "6rem", align: "end", cell: (record) => <span title={usdExact(record.chargedUsd)}>{usd(record.chargedUsd)}</span> },
          { id: "latency", title: "Latency", width: "6rem", align: "end", isMinor: true, cell: (record) => <span title={record.firstByteMs === null ? undefined : `first byte after ${latency(record.firstByteMs)}`}>{latency(record.latencyMs)}</span> },
          { id: "client", title: "From", width: "8rem", isMinor: true, cell: (record) => record.client ?? "–" },
        ]}
      />
    </Panel>
  );
}

function Result({ of }: { readonly of: UsageRecord }) {
  const isBad = of.outcome === "denied" || of.status === null || of.status >= 400;
  return (
    <span class={isBad ? "bad" : undefined} title={`${of.outcome}${of.streamed ? ", streamed" : ""}; request ${of.requestId}`}>
      {of.denial ?? (of.status === null ? of.outcome : `${of.status} ${of.outcome}`)}
    </span>
  );
}

function Denied({ id }: { readonly id: string }) {
  const loaded = useLoad(
    async (signal) => (await call<{ sums: readonly DenialSum[] }>("GET", "/admin/denials/summary", { query: { key: id, group_by: "code" }, signal })).sums,
    [id],
    ["usage"],
    2000,
  );
  return (
    <Panel title="Why calls were denied">
      <Show loaded={loaded}>
        {(sums) =>
          sums.length === 0 ? (
            <Empty title="No call was denied." />
          ) : (
            <PlainTable
              label="Denials by reason"
              rows={sums}
              id={(sum) => sum.code ?? ""}
              columns={[
                { id: "code", title: "Reason", width: "", cell: (sum) => <Code>{sum.code}</Code> },
                { id: "count", title: "Denials", width: "", align: "end", cell: (sum) => whole(sum.count) },
              ]}
            />
          )
        }
      </Show>
    </Panel>
  );
}

const RECENT = 500;

interface Place {
  readonly client: string;
  readonly calls: number;
  readonly last: string;
}

function From({ id }: { readonly id: string }) {
  const loaded = useLoad(
    async (signal) => {
      const { records } = await call<UsageList>("GET", "/admin/usage", { query: { key: id, limit: RECENT }, signal });
      const places = new Map<string, Place>();
      for (const { client, at } of records) {
        const name = client ?? "not known";
        const found = places.get(name);
        places.set(name, { client: name, calls: (found?.calls ?? 0) + 1, last: found?.last ?? at });
      }
      return { records: records.length, places: [...places.values()].sort((one, other) => other.calls - one.calls) };
    },
    [id],
    ["usage"],
    10_000,
  );
  return (
    <Panel title="Where it was used from">
      <Show loaded={loaded}>
        {({ records, places }) =>
          places.length === 0 ? (
            <Empty title="It was not used yet." />
          ) : (
            <>
              <PlainTable
                label="Addresses"
                rows={places.slice(0, 20)}
                id={(one) => one.client}
                columns={[
                  { id: "client", title: "Address", width: "", cell: (one) => <Code>{one.client}</Code> },
                  { id: "calls", title: "Calls", width: "", align: "end", cell: (one) => whole(one.calls) },
                  { id: "last", title: "Last", width: "", cell: (one) => <Ago at={one.last} /> },
                ]}
              />
              <p class="hint">
                Of the last {counted(records, "call")}
                {places.length > 20 && `, the first 20 of ${whole(places.length)} addresses`}.
              </p>
            </>
          )
        }
      </Show>
    </Panel>
  );
}

function Explain({ of }: { readonly of: Key }) {
  const [method, setMethod] = useState("POST");
  const [where, setWhere] = useState(of.provider === "anthropic" ? "/v1/messages" : "/v1/chat/completions");
  const [model, setModel] = useState("");
  const [from, setFrom] = useState("");
  const [body, setBody] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [answer, setAnswer] = useState<{ explanation: Explanation | null; error: ReturnType<typeof asApiError> | null } | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    let parsed: unknown = body;
    try {
      parsed = JSON.parse(body);
    } catch {
      // Taken byte for byte.
    }
    const request = {
      method: method.trim(),
      path: where.trim(),
      ...(from.trim() !== "" && { client_address: from.trim() }),
      ...(body.trim() !== "" ? { body: parsed } : model.trim() !== "" && { model: model.trim() }),
    };
    try {
      const { explanation } = await call<{ explanation: Explanation }>("POST", path`/admin/keys/${of.id}/explain`, { body: request });
      setAnswer({ explanation, error: null });
    } catch (error) {
      setAnswer({ explanation: null, error: asApiError(error) });
    }
    setBusy(false);
  };
  const explained = answer?.explanation;
  return (
    <form onSubmit={(event) => void submit(event)}>
      <div class="fields">
        <TextField label="Method" value={method} onInput={setMethod} required />
        <TextField label="Path" value={where} onInput={setWhere} required />
        <TextField label="Model" value={model} onInput={setModel} hint="Or a whole body below." />
        <TextField label="From" value={from} onInput={setFrom} placeholder="192.0.2.7" />
      </div>
      <details>
        <summary>With a body</summary>
        <TextArea label="Body" value={body} onInput={setBody} rows={5} placeholder={'{"model": "gpt-4o-mini", "messages": []}'} />
      </details>
      <p class="actions spaced">
        <Button type="submit" busy={isBusy}>
          Explain
        </Button>
        <span class="hint">Nothing is sent, and nothing is used up.</span>
      </p>
      <div role="status">
        {answer?.error && <ErrorNote error={answer.error} />}
        {explained && (
          <>
            <p class={explained.allowed ? "note" : "warning"}>
              <b>{explained.allowed ? "It would pass." : "It would be refused."}</b> {explained.message}
              {explained.code !== null && (
                <>
                  {" "}
                  <code>{explained.code}</code>
                </>
              )}
            </p>
            <PlainTable
              label="Steps"
              rows={explained.steps}
              id={(step) => step.step}
              columns={[
                { id: "step", title: "Step", width: "", cell: (step) => step.step },
                { id: "outcome", title: "Result", width: "", cell: (step) => step.outcome },
                { id: "reason", title: "Why", width: "", cell: (step) => <bdi>{step.reason}</bdi> },
              ]}
            />
          </>
        )}
      </div>
    </form>
  );
}
