// What the log says about a token that turned up somewhere: whose it is, when it was made and what became of it.

import { useState } from "preact/hooks";
import { type ApiError, call } from "../api/client";
import type { AuditEntry } from "../api/types";
import { counted } from "../format/number";
import { asApiError } from "../load";
import { Button } from "../ui/button";
import { TextField } from "../ui/field";
import { Panel } from "../ui/page";
import { ErrorNote } from "../ui/state";
import { PlainTable } from "../ui/table";
import { Name, Time } from "../ui/text";
import { detailOf, summaryOf } from "./detail";
import { ActionLink, Target } from "./entry-link";

interface Found {
  readonly subject: string | null;
  readonly entries: readonly AuditEntry[];
  readonly complete: boolean;
}

export function FindPanel() {
  const [token, setToken] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [found, setFound] = useState<Found | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setFound(null);
    setError(null);
    try {
      setFound(await call<Found>("POST", "/admin/audit/find", { body: { token: token.trim() } }));
      setToken("");
    } catch (caught) {
      setError(asApiError(caught));
    }
    setBusy(false);
  };
  return (
    <Panel title="Find a token">
      <p class="prose">A scoped key or an admin token turned up in a repository, a log or a chat? This says whose it is and what the log has about it, also when it no longer works.</p>
      <form onSubmit={(event) => void submit(event)}>
        <TextField label="The whole token" type="password" value={token} onInput={setToken} required autocomplete="off" spellcheck={false} hint="till_sk_… or till_admin_…. It is sent to this server alone, and neither kept nor logged." />
        <p class="actions">
          <Button type="submit" kind="main" busy={isBusy}>
            Find it
          </Button>
        </p>
      </form>
      <div role="status">{found && <Result found={found} />}</div>
      {error && <ErrorNote error={error} />}
    </Panel>
  );
}

function Result({ found: { subject, entries, complete } }: { readonly found: Found }) {
  if (subject === null) return <p class="note">Nobody here knows this token: it was not made by this instance, or is not whole.</p>;
  return (
    <>
      <p class="note">
        It is <Target text={subject} />.{" "}
        {entries.length === 0 ? "What the log had about it was deleted by age." : `The log has ${counted(entries.length, "entry", "entries")} about it${complete ? "" : ", and more"}, oldest first.`}
      </p>
      {entries.length > 0 && (
        <PlainTable
          label="Entries about the token"
          columns={[
            { id: "at", title: "When", width: "", cell: (entry: AuditEntry) => <Time at={entry.at} seconds /> },
            { id: "action", title: "Action", width: "", cell: (entry: AuditEntry) => <ActionLink of={entry} /> },
            { id: "actor", title: "Who", width: "", cell: (entry: AuditEntry) => <Name text={entry.actor.id} max={60} /> },
            { id: "from", title: "From", width: "", isMinor: true, cell: (entry: AuditEntry) => <Name text={entry.actor.address ?? "–"} max={60} /> },
            { id: "detail", title: "Detail", width: "", isMinor: true, cell: (entry: AuditEntry) => <Name text={summaryOf(detailOf(entry.detail))} max={160} /> },
          ]}
          rows={entries}
          id={(entry) => String(entry.seq)}
        />
      )}
    </>
  );
}
