// Files of what the page shows.

import { useRef, useState } from "preact/hooks";
import { type ApiError, call, type Query } from "../api/client";
import type { UsageGroup, UsageRecord, UsageSum } from "../api/types";
import { whole } from "../format/number";
import { asApiError } from "../load";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { download } from "../ui/download";
import { ErrorNote } from "../ui/state";
import { CALLS_HEADING, callLine, sumsCsv } from "./export";
import type { Range } from "./range";

/** A file of more calls than this is none that a browser should make. */
const CALLS_MAX = 200_000;
const PAGE = 1000;

interface Props {
  readonly asked: Query;
  readonly group: UsageGroup;
  readonly range: Range;
}

type State = { readonly kind: "idle" } | { readonly kind: "busy"; readonly rows: number } | { readonly kind: "failed"; readonly error: ApiError } | { readonly kind: "done"; readonly text: string };

export function ExportMenu({ asked, group, range }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button onClick={() => setOpen(true)}>Export CSV</Button>
      {isOpen && <ExportDialog asked={asked} group={group} range={range} onClose={() => setOpen(false)} />}
    </>
  );
}

function ExportDialog({ asked, group, range, onClose }: Props & { readonly onClose: () => void }) {
  const [state, setState] = useState<State>({ kind: "idle" });
  const abort = useRef<AbortController | null>(null);
  const name = `${range.from}-to-${range.to}`;
  const close = () => {
    abort.current?.abort();
    onClose();
  };
  const run = async (make: (signal: AbortSignal) => Promise<string>): Promise<void> => {
    abort.current = new AbortController();
    const { signal } = abort.current;
    setState({ kind: "busy", rows: 0 });
    try {
      const text = await make(signal);
      if (!signal.aborted) setState({ kind: "done", text });
    } catch (error) {
      if (!signal.aborted) setState({ kind: "failed", error: asApiError(error) });
    }
  };
  const sums = (groupBy: string, file: string) => () =>
    run(async (signal) => {
      const answer = await call<{ sums: UsageSum[] }>("GET", "/admin/usage/summary", { query: { ...asked, group_by: groupBy }, signal });
      download([sumsCsv(answer.sums, group)], file);
      return `${whole(answer.sums.length)} rows are in ${file}.`;
    });
  const calls = () =>
    run(async (signal) => {
      const lines: string[] = [];
      let [before, isAll] = [null as number | null, false];
      while (!isAll && lines.length < CALLS_MAX) {
        const answer = await call<{ records: UsageRecord[]; nextBefore: number | null }>("GET", "/admin/usage", { query: { ...asked, limit: PAGE, before }, signal });
        lines.push(...answer.records.map(callLine));
        before = answer.nextBefore;
        isAll = before === null;
        setState({ kind: "busy", rows: lines.length });
      }
      const file = `till-calls-${name}.csv`;
      download([CALLS_HEADING, ...lines], file);
      return isAll ? `${whole(lines.length)} calls are in ${file}.` : `The newest ${whole(lines.length)} calls are in ${file}; there are more. Choose fewer days for the others.`;
    });
  const isBusy = state.kind === "busy";
  return (
    <Dialog title="Export as CSV" onClose={close}>
      <p>Of the days and filters that the page shows. Amounts are exact, times and days are UTC.</p>
      <ul class="choices">
        <li>
          <Button busy={isBusy} onClick={() => void sums(group, `till-usage-by-${group}-${name}.csv`)()}>{`Sums by ${group}`}</Button>
          <span class="hint">One row for each.</span>
        </li>
        <li>
          <Button busy={isBusy} onClick={() => void sums(`day,${group}`, `till-usage-by-day-and-${group}-${name}.csv`)()}>{`Sums by day and ${group}`}</Button>
          <span class="hint">One row for each and day.</span>
        </li>
        <li>
          <Button busy={isBusy} onClick={() => void calls()}>
            Single calls
          </Button>
          <span class="hint">{`Newest first, at most ${whole(CALLS_MAX)}. Records of calls are kept for a while only, sums for ever.`}</span>
        </li>
      </ul>
      <div role="status">
        {isBusy && <p>{state.rows === 0 ? "Loading …" : `${whole(state.rows)} calls so far …`}</p>}
        {state.kind === "done" && <p>{state.text}</p>}
      </div>
      {state.kind === "failed" && <ErrorNote error={state.error} />}
      <p class="actions">
        <Button onClick={close}>{isBusy ? "Stop" : "Close"}</Button>
      </p>
    </Dialog>
  );
}
