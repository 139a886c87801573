// Verifies the log in the browser, and says what that shows and what it does not.

import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, call } from "../api/client";
import type { AuditEntry } from "../api/types";
import { whole } from "../format/number";
import { local } from "../format/time";
import { asApiError } from "../load";
import { may, self } from "../session";
import { Button, Copy } from "../ui/button";
import { TextField } from "../ui/field";
import { Panel } from "../ui/page";
import { ErrorNote } from "../ui/state";
import { canHash, fromHex } from "./chain";
import { type CheckpointPage, PAGE, parseHead, type Source, type Statement, type Verdict, verify } from "./verify";

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "busy"; readonly seq: number; readonly of: number }
  | { readonly kind: "failed"; readonly error: ApiError }
  | { readonly kind: "done"; readonly verdict: Verdict; readonly at: number };

function sourceOf(signal: AbortSignal): Source {
  return {
    entries: async (after) =>
      (await call<{ entries: AuditEntry[] }>("GET", "/admin/audit", { query: { after, limit: PAGE, order: "asc" }, signal })).entries,
    checkpoints: may("audit.export")
      ? (after) => call<CheckpointPage>("GET", "/admin/audit/checkpoints", { query: { after, limit: PAGE }, signal })
      : null,
  };
}

export function VerifyPanel() {
  const [publicKey, setPublicKey] = useState("");
  const [head, setHead] = useState("");
  const [state, setState] = useState<State>({ kind: "idle" });
  const abort = useRef<AbortController | null>(null);
  useEffect(() => () => abort.current?.abort(), []);

  const keyText = publicKey.trim().toLowerCase();
  const keyError = keyText !== "" && fromHex(keyText)?.length !== 32 ? "A public key has 64 hexadecimal digits, as `till audit public-key` prints it." : null;
  const headError = head.trim() !== "" && parseHead(head) === null ? "A head is a number, a colon and 64 hexadecimal digits, as a verification shows it." : null;

  const run = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (keyError || headError) return;
    abort.current = new AbortController();
    const { signal } = abort.current;
    setState({ kind: "busy", seq: 0, of: 0 });
    try {
      const newest = await call<{ entries: AuditEntry[] }>("GET", "/admin/audit", { query: { order: "desc", limit: 1 }, signal });
      const of = newest.entries[0]?.seq ?? 0;
      const wanted = { publicKey: keyText === "" ? null : keyText, head: parseHead(head) };
      const verdict = await verify(sourceOf(signal), wanted, (seq) => setState({ kind: "busy", seq, of: Math.max(of, seq) }), signal);
      setState({ kind: "done", verdict, at: Date.now() });
    } catch (error) {
      setState(signal.aborted ? { kind: "idle" } : { kind: "failed", error: asApiError(error) });
    }
  };

  if (self.value?.project != null) {
    return (
      <Panel title="Verify the log">
        <p>
          You see the entries of the project {self.value.project} only, and a chain can be verified as a whole only. The hash of each single entry is verified on
          its page. Somebody who is not bound to a project can verify the whole log.
        </p>
      </Panel>
    );
  }
  if (!canHash()) {
    return (
      <Panel title="Verify the log">
        <p>
          This browser computes hashes only on pages that came over HTTPS or from the machine itself. Open the dashboard that way, or verify on the command line:{" "}
          <code>till audit verify</code>
        </p>
      </Panel>
    );
  }
  return (
    <Panel title="Verify the log">
      <p class="prose">
        This browser reads the whole log, computes every hash anew and compares it with the next entry and with the signed checkpoints. With a public key and a head
        that were written down earlier it also finds a log that was replaced, cut off or put back.
      </p>
      <form onSubmit={(event) => void run(event)}>
        <div class="fields">
          <TextField label="Public key, if you wrote it down" value={publicKey} onInput={setPublicKey} error={keyError} spellcheck={false} autocomplete="off" hint="64 hexadecimal digits" />
          <TextField label="Head, if you wrote one down" value={head} onInput={setHead} error={headError} spellcheck={false} autocomplete="off" hint="As in 230:8d1a…, from an earlier verification" />
        </div>
        <p class="actions">
          <Button type="submit" kind="main" busy={state.kind === "busy"}>
            Verify now
          </Button>
          {state.kind === "busy" && <Button onClick={() => abort.current?.abort()}>Stop</Button>}
        </p>
      </form>
      <div role="status">
        {state.kind === "busy" && (
          <p>
            {state.of === 0 ? "Reading …" : `${whole(state.seq)} of ${whole(state.of)} entries …`}
          </p>
        )}
        {state.kind === "done" && <Result verdict={state.verdict} at={state.at} />}
      </div>
      {state.kind === "failed" && <ErrorNote error={state.error} />}
    </Panel>
  );
}

const MARKS: Readonly<Record<Statement["result"], string>> = { holds: "Verified", fails: "Wrong", open: "Not verified" };

function Result({ verdict, at }: { readonly verdict: Verdict; readonly at: number }) {
  const { head } = verdict;
  return (
    <div class="verdict">
      <p>
        <strong class={verdict.isSound ? "good" : "bad"}>
          {verdict.isSound ? "The log is sound, as far as this shows." : "The log is not as it was written."}
        </strong>{" "}
        <small>{local(at, true)}</small>
      </p>
      <ul class="statements">
        {verdict.statements.map((one) => (
          <li key={one.text}>
            <span class={`status ${{ holds: "ok", fails: "failed", open: "pending" }[one.result]}`}>{MARKS[one.result]}</span>
            <span>{one.text}</span>
          </li>
        ))}
      </ul>
      {!verdict.isSound && (
        <p>
          Export the log, keep the file, and look with <code>till audit verify FILE</code>, which says more precisely what happened.
        </p>
      )}
      {verdict.isSound && head !== null && (
        <p class="head-note">
          Head, to write down where nobody who has the database can write: <code class="code">{`${head.seq}:${head.hash}`}</code>{" "}
          <Copy text={`${head.seq}:${head.hash}`} label="Copy the head" />
        </p>
      )}
      <p class="hint">
        The program that verified came from the server that has the log. Somebody who controls both could make it say anything: against that, export the log and run{" "}
        <code>till audit verify</code> on another machine.
      </p>
    </div>
  );
}
