// The detail of an entry as rows that somebody can read: what it was before and after, and everything else.

import { usdExact } from "../format/money";
import { span } from "../format/duration";
import { whole } from "../format/number";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Reads JSON without rounding: a number that floating point can't hold exactly stays as the text that it is. */
export function parseExact(text: string): Json {
  const kept = text.replace(/"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*/g, (token) =>
    token.startsWith('"') || String(Number(token)) === token ? token : JSON.stringify(token),
  );
  return JSON.parse(kept) as Json;
}

/** The detail of an entry; what is no JSON is shown as it is. */
export function detailOf(text: string): Json {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}

export interface Value {
  readonly text: string;
  /** Whether it is a time, which is shown in the zone of the browser. */
  readonly isTime: boolean;
}

export interface Change {
  /** Where it stands: `limits › activations`. */
  readonly label: string;
  readonly before: Value | null;
  readonly after: Value | null;
}

export interface Fact {
  readonly label: string;
  readonly value: Value;
}

type Tree = Readonly<Record<string, Json>>;

const isTree = (value: Json | undefined): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);

/** Leaves with the path to them. An object without members is a leaf. */
function leaves(value: Json, path: readonly string[], into: Map<string, Json>): void {
  if (isTree(value) && Object.keys(value).length > 0) {
    for (const [name, inner] of Object.entries(value)) leaves(inner, [...path, name], into);
  } else into.set(path.join("\n"), value);
}

const flat = (value: Json): Map<string, Json> => {
  const found = new Map<string, Json>();
  if (!isTree(value) || Object.keys(value).length > 0) leaves(value, [], found);
  return found;
};

/** `maxSpendUsd` as `max spend`; the unit stands beside the number. What is no word of till's stays as it is. */
function word(name: string): string {
  if (!/^[a-z][A-Za-z]*$/.test(name)) return name;
  return name
    .replace(/(Nanos|Usd|Seconds)$/, "")
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .toLowerCase();
}

const labelOf = (path: string): string => path.split("\n").map(word).join(" › ");

const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$/;

function valueOf(path: string, value: Json): Value {
  const name = path.split("\n").at(-1) ?? "";
  const plain = (text: string): Value => ({ text, isTime: false });
  const digits = typeof value === "number" || typeof value === "string" ? String(value) : "";
  if (value === null) return plain("none");
  if (typeof value === "boolean") return plain(value ? "yes" : "no");
  if (name.endsWith("Nanos") && /^[0-9]+$/.test(digits)) return plain(usdExact(BigInt(digits)));
  if (name.endsWith("Usd") && typeof value === "string") return plain(usdExact(value));
  if (name.endsWith("Seconds") && typeof value === "number") return plain(span(value));
  if (typeof value === "number") return plain(Number.isInteger(value) ? whole(value) : String(value));
  if (typeof value === "string") return { text: value === "" ? "empty" : value, isTime: TIME.test(value) };
  if (Array.isArray(value)) {
    const isPlain = value.every((one) => typeof one === "string" || typeof one === "number");
    return plain(value.length === 0 ? "none" : isPlain ? value.join(", ") : JSON.stringify(value));
  }
  return plain("nothing");
}

/** What changed, as rows; empty for an entry that changed nothing or does not say so. */
export function changesOf(detail: Json): Change[] {
  if (!isTree(detail) || !isTree(detail["before"]) || !isTree(detail["after"])) return [];
  const [before, after] = [flat(detail["before"]), flat(detail["after"])];
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort();
  const rows: Change[] = [];
  for (const path of paths) {
    const [old, now] = [before.get(path), after.get(path)];
    if (JSON.stringify(old) === JSON.stringify(now)) continue;
    // A part of something that was not there as a whole.
    if ((old === undefined && now === null) || (now === undefined && old === null)) continue;
    rows.push({
      label: labelOf(path),
      before: old === undefined ? null : valueOf(path, old),
      after: now === undefined ? null : valueOf(path, now),
    });
  }
  return rows;
}

/** Everything that is no change. What is absent by default is left out. */
export function factsOf(detail: Json): Fact[] {
  if (!isTree(detail)) return detail === null ? [] : [{ label: "detail", value: valueOf("", detail) }];
  const hasChanges = isTree(detail["before"]) && isTree(detail["after"]);
  const rest = Object.fromEntries(Object.entries(detail).filter(([name]) => !hasChanges || (name !== "before" && name !== "after")));
  return [...flat(rest)]
    .filter(([, value]) => value !== null && !(isTree(value) && Object.keys(value).length === 0))
    .map(([path, value]) => ({ label: labelOf(path), value: valueOf(path, value) }));
}

/** The detail on one line. */
export function summaryOf(detail: Json): string {
  const changes = changesOf(detail).map(({ label, before, after }) => `${label}: ${before?.text ?? "not set"} → ${after?.text ?? "not set"}`);
  if (changes.length > 0) return changes.join("; ");
  // Hashes say nothing to somebody who reads.
  const facts = factsOf(detail).filter(({ label }) => !/hash$|^settings|public key$/.test(label));
  return facts.map(({ label, value }) => `${label}: ${value.text}`).join("; ");
}
