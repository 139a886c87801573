// Pages of a long list on the server, joined to one list that grows as somebody scrolls. What changed is loaded again for the
// pages in view only.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import { asApiError } from "../load";
import { changes, type Topic } from "../live";

export interface PageOf<Row> {
  readonly rows: readonly Row[];
  /** Where the next page starts; null is the end. */
  readonly next: string | null;
}

export interface Paged<Row> {
  readonly rows: readonly Row[];
  readonly more: boolean;
  readonly isLoading: boolean;
  readonly error: ApiError | null;
  readonly onMore: () => void;
  readonly onView: (first: number, last: number) => void;
  readonly reload: () => void;
}

interface Held<Row> extends PageOf<Row> {
  readonly cursor: string | null;
}

const NOTHING = { pages: [], isLoading: true, error: null };

export function usePaged<Row>(
  load: (cursor: string | null, signal: AbortSignal) => Promise<PageOf<Row>>,
  id: (row: Row) => string,
  deps: readonly unknown[],
  topics: readonly Topic[] = [],
  everyMs = 2000,
): Paged<Row> {
  const [state, setState] = useState<{ pages: readonly Held<Row>[]; isLoading: boolean; error: ApiError | null }>(NOTHING);
  const view = useRef<readonly [number, number]>([0, 0]);
  const latest = useRef({ load, pages: state.pages, isRunning: false });
  latest.current.load = load;
  latest.current.pages = state.pages;
  const abort = useRef(new AbortController());
  const again = useRef<() => void>(() => undefined);

  const run = useCallback(async (wanted: () => Promise<readonly Held<Row>[]>) => {
    if (latest.current.isRunning) return;
    latest.current.isRunning = true;
    const { signal } = abort.current;
    setState((before) => ({ ...before, isLoading: true }));
    try {
      const pages = await wanted();
      if (!signal.aborted) setState({ pages, isLoading: false, error: null });
    } catch (error) {
      if (!signal.aborted) setState((before) => ({ ...before, isLoading: false, error: asApiError(error) }));
    }
    if (!signal.aborted) latest.current.isRunning = false;
  }, []);

  const page = async (cursor: string | null): Promise<Held<Row>> => ({
    cursor,
    ...(await latest.current.load(cursor, abort.current.signal)),
  });

  useEffect(() => {
    abort.current = new AbortController();
    latest.current.isRunning = false;
    setState(NOTHING);
    void run(async () => [await page(null)]);
    let timer: ReturnType<typeof setTimeout> | undefined;
    let last = Date.now();
    const refresh = async (): Promise<readonly Held<Row>[]> => {
      const { pages } = latest.current;
      const fresh: Held<Row>[] = [];
      let [start, isMoved] = [0, false];
      for (const held of pages) {
        const end = start + held.rows.length;
        const isInView = start <= view.current[1] && end >= view.current[0];
        // A page that starts elsewhere than before is another one.
        const cursor: string | null = fresh.length === 0 ? null : (fresh.at(-1)?.next ?? null);
        if (fresh.length > 0 && cursor === null) break;
        isMoved ||= cursor !== held.cursor;
        if (isMoved && !isInView && start > view.current[1]) break;
        fresh.push(isInView || isMoved ? await page(cursor) : held);
        start = end;
      }
      last = Date.now();
      return fresh.length === 0 ? [await page(null)] : fresh;
    };
    again.current = () => void run(refresh);
    const ends = topics.map((topic) => {
      const before = changes[topic].peek();
      return changes[topic].subscribe((now) => {
        if (now === before) return;
        timer ??= setTimeout(() => {
          timer = undefined;
          void run(refresh);
        }, Math.max(100, last + everyMs - Date.now()));
      });
    });
    return () => {
      abort.current.abort();
      clearTimeout(timer);
      for (const end of ends) end();
    };
  }, deps);

  const onMore = useCallback(() => {
    const { pages } = latest.current;
    const next = pages.at(-1)?.next ?? null;
    if (next !== null) void run(async () => [...pages, await page(next)]);
  }, [run]);
  const onView = useCallback((first: number, last: number) => {
    view.current = [first, last];
  }, []);
  const reload = useCallback(() => again.current(), []);

  // A row that moved while somebody scrolled may be on two pages.
  const seen = new Set<string>();
  const rows = state.pages.flatMap((held) => held.rows).filter((row) => !seen.has(id(row)) && seen.add(id(row)));
  const more = (state.pages.at(-1)?.next ?? null) !== null;
  return { rows, more, isLoading: state.isLoading, error: state.error, onMore, onView, reload };
}
