// One entry of the audit log: who, what, and the difference that it made.

import { useEffect, useState } from "preact/hooks";
import { call, path } from "../api/client";
import type { AuditEntry } from "../api/types";
import type { PageProps } from "../layout/pages";
import { useLoad } from "../load";
import { Link } from "../router";
import { Copy } from "../ui/button";
import { Page, Panel } from "../ui/page";
import { Empty, Show } from "../ui/state";
import { PlainTable } from "../ui/table";
import { Code, cut, Name, Time } from "../ui/text";
import { canHash, hashOf } from "./chain";
import { type Change, changesOf, detailOf, factsOf, type Value } from "./detail";
import { Target } from "./entry-link";
import { entryPath } from "./entry-path";

export function AuditEntryPage({ params }: PageProps) {
  const seq = Number(params["seq"]);
  const isNumber = Number.isSafeInteger(seq) && seq > 0;
  const loaded = useLoad(
    async (signal) => (isNumber ? (await call<{ entry: AuditEntry }>("GET", path`/admin/audit/${seq}`, { signal })).entry : null),
    [seq],
  );
  return (
    <Page
      title={isNumber ? `Entry ${seq}` : "Entry"}
      actions={
        <>
          <Link to="/audit" class="button">
            All entries
          </Link>
          {isNumber && seq > 1 && (
            <Link to={entryPath(seq - 1)} class="button" aria-label={`Entry ${seq - 1}, before this`}>
              ← {seq - 1}
            </Link>
          )}
          {isNumber && (
            <Link to={entryPath(seq + 1)} class="button" aria-label={`Entry ${seq + 1}, behind this`}>
              {seq + 1} →
            </Link>
          )}
        </>
      }
    >
      <Show loaded={loaded}>
        {(entry) => (entry === null ? <Empty title="Entries are numbered from 1 on; this is no such number." /> : <Entry entry={entry} />)}
      </Show>
    </Page>
  );
}

function Entry({ entry }: { readonly entry: AuditEntry }) {
  const detail = detailOf(entry.detail);
  const changes = changesOf(detail);
  const facts = factsOf(detail);
  const { actor } = entry;
  return (
    <>
      <Panel title="What happened">
        <dl class="facts">
          <dt>Action</dt>
          <dd>
            <Link to={`/audit?action=${encodeURIComponent(entry.action)}`} title="All entries of this action">
              <code>{cut(entry.action, 80)}</code>
            </Link>
          </dd>
          <dt>When</dt>
          <dd>
            <Time at={entry.at} seconds />
          </dd>
          <dt>About</dt>
          <dd>
            <Target text={entry.target} />
          </dd>
          <dt>Who</dt>
          <dd>
            <Link to={`/audit?actor=${encodeURIComponent(actor.id)}`} title="All entries of this actor">
              <Name text={actor.id} />
            </Link>{" "}
            <small>{ACTORS[actor.kind] ?? actor.kind}</small>
          </dd>
          {actor.address !== null && (
            <>
              <dt>From</dt>
              <dd>
                <Name text={actor.address} />
              </dd>
            </>
          )}
          {actor.requestId !== null && (
            <>
              <dt>Request</dt>
              <dd>
                <Code>{cut(actor.requestId)}</Code>
              </dd>
            </>
          )}
        </dl>
      </Panel>
      {changes.length > 0 && (
        <Panel title="What changed">
          <Differences changes={changes} />
        </Panel>
      )}
      {facts.length > 0 && (
        <Panel title={changes.length > 0 ? "More about it" : "Detail"}>
          <dl class="facts">
            {facts.map(({ label, value }) => (
              <Fact key={label} label={label} value={value} />
            ))}
          </dl>
        </Panel>
      )}
      {changes.length === 0 && facts.length === 0 && (
        <Panel title="Detail">
          <p class="muted">The entry says nothing more.</p>
        </Panel>
      )}
      <Panel title="In the chain">
        <Chain entry={entry} />
        <details>
          <summary>Show the detail as it was hashed</summary>
          <p class="actions">
            <Copy text={entry.detail} label="Copy the detail" />
          </p>
          <pre tabIndex={0} aria-label="Detail as it was hashed">
            {cut(entry.detail, 20_000)}
          </pre>
        </details>
      </Panel>
    </>
  );
}

const ACTORS: Readonly<Record<string, string>> = {
  admin: "by an admin token or a member",
  system: "by till itself",
  local_cli: "by the command line on the machine itself",
};

/** A text of the log may be long; a page takes more of it than a row. */
const TEXT_MAX = 2000;

function Shown({ value }: { readonly value: Value | null }) {
  if (value === null) return <span class="muted">not set</span>;
  return value.isTime ? <Time at={value.text} seconds /> : <Name text={value.text} max={TEXT_MAX} />;
}

function Fact({ label, value }: { readonly label: string; readonly value: Value }) {
  return (
    <>
      <dt>
        <Name text={label} max={120} />
      </dt>
      <dd>
        <Shown value={value} />
      </dd>
    </>
  );
}

function Differences({ changes }: { readonly changes: readonly Change[] }) {
  return (
    <PlainTable
      label="Before and after"
      columns={[
        { id: "label", title: "What", width: "", cell: (change: Change) => <Name text={change.label} max={120} /> },
        {
          id: "before",
          title: "Before",
          width: "",
          cell: (change: Change) => (
            <del class="before">
              <Shown value={change.before} />
            </del>
          ),
        },
        {
          id: "after",
          title: "After",
          width: "",
          cell: (change: Change) => (
            <ins class="after">
              <Shown value={change.after} />
            </ins>
          ),
        },
      ]}
      rows={changes}
      id={(change) => change.label}
    />
  );
}

function Chain({ entry }: { readonly entry: AuditEntry }) {
  const [computed, setComputed] = useState<string | null>(null);
  useEffect(() => {
    setComputed(null);
    if (canHash()) void hashOf(entry).then(setComputed);
  }, [entry]);
  return (
    <>
      <dl class="facts">
        <dt>Hash</dt>
        <dd>
          <Code>{entry.hash}</Code>{" "}
          {computed !== null && (
            <span class={`status ${computed === entry.hash ? "ok" : "failed"}`}>{computed === entry.hash ? "fits its fields" : "does not fit its fields"}</span>
          )}
        </dd>
        <dt>Of the entry before</dt>
        <dd>
          <Code>{entry.prevHash}</Code>
        </dd>
      </dl>
      <p class="hint">
        {computed === null
          ? "This browser computes no hashes on a page that came without HTTPS."
          : "This browser computed the hash of this entry anew. Only verifying the whole log shows whether the chain around it holds."}
      </p>
    </>
  );
}
