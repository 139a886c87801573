// What docs/audit.md says about the chain of the audit log, computed in the browser: hashes by SHA-256, signatures by Ed25519.
// Nothing here trusts what the server says about its own log, except where the result says so.

import type { AuditEntry } from "../api/types";

export interface Checkpoint {
  readonly seq: number;
  readonly hash: string;
  readonly at: string;
  readonly instanceId: string;
  readonly keyId: string;
  readonly signature: string;
}

export interface AuditKey {
  readonly keyId: string;
  readonly publicKey: string;
}

export const NO_HASH = "0".repeat(64);

const ascii = new TextEncoder();

export function hex(bytes: ArrayBuffer | Uint8Array): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Bytes of lower-case hexadecimal; `null` for what is none. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> | null {
  if (!/^([0-9a-f]{2})*$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  return bytes;
}

function number(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

function frame(bytes: Uint8Array): Uint8Array[] {
  return [number(bytes.length), bytes];
}

const text = (value: string): Uint8Array[] => frame(ascii.encode(value));

const optional = (value: string | null): Uint8Array[] => (value === null ? [Uint8Array.of(0)] : [Uint8Array.of(1), ...text(value)]);

/** Milliseconds since 1970 of `2026-01-31T08:00:00.25Z`; `null` for another spelling. */
export function millis(at: string): bigint | null {
  const found = /^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,3}))?Z$/.exec(at);
  if (!found) return null;
  const seconds = Date.parse(`${found[1]}Z`);
  return Number.isNaN(seconds) ? null : BigInt(seconds) + BigInt((found[2] ?? "").padEnd(3, "0"));
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The hash that an entry must have, if it continues the one with `prevHash`. */
export async function hashOf(entry: AuditEntry, prevHash: string = entry.prevHash): Promise<string | null> {
  const [before, at] = [fromHex(prevHash), millis(entry.at)];
  if (before === null || before.length !== 32 || at === null || !Number.isSafeInteger(entry.seq)) return null;
  const { actor } = entry;
  const hashed = joined([
    ascii.encode("till/v1/audit"),
    before,
    ...frame(number(entry.seq)),
    ...frame(number(at)),
    ...text(actor.kind),
    ...text(actor.id),
    ...optional(actor.address),
    ...optional(actor.requestId),
    ...text(entry.action),
    ...text(entry.target),
    ...text(entry.detail),
  ]);
  return hex(await crypto.subtle.digest("SHA-256", hashed));
}

/** What a checkpoint signs; `null` if it can't be one. */
function signed(checkpoint: Checkpoint): Uint8Array<ArrayBuffer> | null {
  const [instance, hash, key] = [fromHex(checkpoint.instanceId), fromHex(checkpoint.hash), fromHex(checkpoint.keyId)];
  const at = millis(checkpoint.at);
  if (instance?.length !== 16 || hash?.length !== 32 || key?.length !== 8 || at === null) return null;
  return joined([
    ascii.encode("till/v1/audit-checkpoint"),
    ...frame(instance),
    ...frame(number(checkpoint.seq)),
    ...frame(hash),
    ...frame(number(at)),
    ...frame(key),
  ]);
}

/** The id of a public key: the first 8 bytes of a hash of it. */
export async function keyIdOf(publicKey: string): Promise<string | null> {
  const bytes = fromHex(publicKey);
  if (bytes?.length !== 32) return null;
  return hex(await crypto.subtle.digest("SHA-256", joined([ascii.encode("till/v1/audit-key-id"), bytes]))).slice(0, 16);
}

/** Whether this browser computes hashes: only on pages that came over HTTPS or from the machine itself. */
export const canHash = (): boolean => typeof globalThis.crypto?.subtle?.digest === "function";

/** A public key that this browser can verify with; `null` if it knows no Ed25519. */
export async function imported(publicKey: string): Promise<CryptoKey | null> {
  const bytes = fromHex(publicKey);
  if (bytes?.length !== 32) return null;
  try {
    return await crypto.subtle.importKey("raw", bytes, { name: "Ed25519" }, false, ["verify"]);
  } catch {
    return null;
  }
}

export async function isSigned(checkpoint: Checkpoint, key: CryptoKey): Promise<boolean> {
  const [what, signature] = [signed(checkpoint), fromHex(checkpoint.signature)];
  if (what === null || signature?.length !== 64) return false;
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, what);
}
