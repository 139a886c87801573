// What a component shows of the server: loaded when it appears, and again when something of it changes.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api/client";
import { changes, type Topic } from "./live";

export interface Loaded<T> {
  readonly data: T | null;
  readonly error: ApiError | null;
  readonly isLoading: boolean;
  readonly reload: () => void;
}

export function asApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, "unknown", error instanceof Error ? error.message : String(error));
}

/**
 * Loads, shows what there was while it loads again, and never runs twice at once.
 *
 * @param deps what `load` depends on: another value loads at once and forgets what was shown.
 * @param topics changes that make it load again, at most once per `everyMs`.
 */
export function useLoad<T>(
  load: (signal: AbortSignal) => Promise<T>,
  deps: readonly unknown[],
  topics: readonly Topic[] = [],
  everyMs = 1000,
): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: ApiError | null; isLoading: boolean }>({
    data: null,
    error: null,
    isLoading: true,
  });
  const latest = useRef(load);
  latest.current = load;
  const run = useRef<() => void>(() => undefined);

  useEffect(() => {
    const abort = new AbortController();
    let [isRunning, isWanted, last] = [false, false, 0];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const go = async (): Promise<void> => {
      clearTimeout(timer);
      timer = undefined;
      if (isRunning) {
        isWanted = true;
        return;
      }
      isRunning = true;
      last = Date.now();
      setState((before) => ({ ...before, isLoading: true }));
      try {
        const data = await latest.current(abort.signal);
        if (!abort.signal.aborted) setState({ data, error: null, isLoading: false });
      } catch (error) {
        // What was shown stays, with the error beside it.
        if (!abort.signal.aborted) setState((before) => ({ data: before.data, error: asApiError(error), isLoading: false }));
      }
      isRunning = false;
      if (isWanted && !abort.signal.aborted) {
        isWanted = false;
        soon();
      }
    };
    const soon = (): void => {
      timer ??= setTimeout(() => void go(), Math.max(0, last + everyMs - Date.now()));
    };
    setState({ data: null, error: null, isLoading: true });
    run.current = () => void go();
    void go();
    const ends = topics.map((topic) => {
      const before = changes[topic].peek();
      return changes[topic].subscribe((now) => {
        if (now !== before) soon();
      });
    });
    return () => {
      abort.abort();
      clearTimeout(timer);
      for (const end of ends) end();
    };
  }, deps);

  const reload = useCallback(() => run.current(), []);
  return { ...state, reload };
}
