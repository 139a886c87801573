// Names of keys that are known by their ids only. Each is asked for once per visit, and every part of a page sees it.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, path } from "../api/client";
import type { Key } from "../api/types";
import { called } from "./name";

/** How many are asked for at once; a view has fewer rows. */
const ASKED_MAX = 60;

const known = signal<ReadonlyMap<string, string>>(new Map());
/** Those whose answer is on its way, or here. */
const asked = new Set<string>();

async function ask(id: string): Promise<void> {
  asked.add(id);
  try {
    const { key } = await call<{ key: Key }>("GET", path`/admin/keys/${id}`);
    known.value = new Map(known.peek()).set(id, called(key));
  } catch {
    // The id says enough.
    asked.delete(id);
  }
}

/** What the keys with these ids are called, as far as it is known by now. */
export function useKeyNames(ids: readonly string[]): ReadonlyMap<string, string> {
  const wanted = [...new Set(ids)].sort().join(" ");
  useEffect(() => {
    const missing = wanted.split(" ").filter((id) => id !== "" && !asked.has(id));
    for (const id of missing.slice(0, ASKED_MAX)) void ask(id);
  }, [wanted]);
  return known.value;
}
