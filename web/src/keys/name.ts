import type { Key } from "../api/types";

/** The name that somebody gave a key; `null` for one without. */
export function nameOf(key: Key): string | null {
  const name = key.metadata["name"];
  return typeof name === "string" && name.trim() !== "" ? name : null;
}

/** What a key is called where there has to be something. */
export const called = (key: Key): string => nameOf(key) ?? key.id;
