// Names of keys that are known by their ids only. Each is asked for once per visit.

import { useEffect, useState } from "preact/hooks";
import { call, path } from "../api/client";
import type { Key } from "../api/types";
import { called } from "./name";

const known = new Map<string, string>();

export function useKeyNames(ids: readonly string[]): ReadonlyMap<string, string> {
  const wanted = [...new Set(ids)].sort().join(" ");
  const [names, setNames] = useState<ReadonlyMap<string, string>>(new Map(known));
  useEffect(() => {
    const missing = wanted.split(" ").filter((id) => id !== "" && !known.has(id));
    if (missing.length === 0) return undefined;
    const abort = new AbortController();
    const ask = async (id: string): Promise<void> => {
      try {
        const { key } = await call<{ key: Key }>("GET", path`/admin/keys/${id}`, { signal: abort.signal });
        known.set(id, called(key));
      } catch {
        // The id says enough.
      }
    };
    void Promise.all(missing.slice(0, 60).map(ask)).then(() => {
      if (!abort.signal.aborted) setNames(new Map(known));
    });
    return () => abort.abort();
  }, [wanted]);
  return names;
}
