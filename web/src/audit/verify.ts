// Follows the whole log over the API and says what that shows, and what it does not.

import type { AuditEntry } from "../api/types";
import { whole } from "../format/number";
import { type AuditKey, type Checkpoint, hashOf, imported, isSigned, keyIdOf, NO_HASH } from "./chain";

export interface Source {
  /** Entries behind `after`, oldest first; fewer than `PAGE` are the last ones. */
  readonly entries: (after: number) => Promise<readonly AuditEntry[]>;
  /** `null` for whoever may not see checkpoints. */
  readonly checkpoints: ((after: number) => Promise<CheckpointPage>) | null;
}

export interface CheckpointPage {
  readonly anchor: Checkpoint | null;
  readonly keys: readonly AuditKey[];
  readonly checkpoints: readonly Checkpoint[];
  readonly nextAfter: number;
}

export const PAGE = 1000;

export interface Wanted {
  /** A public key that was written down earlier, in hexadecimal. */
  readonly publicKey: string | null;
  /** An entry that was written down earlier: `230:8d1a…`. */
  readonly head: Head | null;
}

export interface Head {
  readonly seq: number;
  readonly hash: string;
}

/** `230:8d1a…` with all 64 digits; `null` for anything else. */
export function parseHead(text: string): Head | null {
  const found = /^([0-9]{1,15}):([0-9a-f]{64})$/.exec(text.trim().toLowerCase());
  return found ? { seq: Number(found[1]), hash: found[2] ?? "" } : null;
}

export interface Statement {
  /** Whether it was looked at and holds, was looked at and does not, or could not be looked at. */
  readonly result: "holds" | "fails" | "open";
  readonly text: string;
}

export interface Verdict {
  readonly isSound: boolean;
  readonly statements: readonly Statement[];
  readonly head: Head | null;
}

class Fault extends Error {}

/** Every signature on the way, compared with the chain. */
interface Signed {
  readonly pages: readonly Checkpoint[];
  readonly anchor: Checkpoint | null;
  readonly keys: readonly AuditKey[];
}

async function allCheckpoints(source: Source, signal: AbortSignal): Promise<Signed | null> {
  if (source.checkpoints === null) return null;
  const pages: Checkpoint[] = [];
  for (let after = 0; ; ) {
    signal.throwIfAborted();
    const page = await source.checkpoints(after);
    pages.push(...page.checkpoints);
    if (page.checkpoints.length === 0 || page.nextAfter <= after) return { pages, anchor: page.anchor, keys: page.keys };
    after = page.nextAfter;
  }
}

/** What entries say about the log itself. */
interface Told {
  readonly publicKeys: Set<string>;
  readonly trims: Set<string>;
}

function listen(entry: AuditEntry, told: Told): void {
  if (entry.action !== "audit.key" && entry.action !== "audit.trim") return;
  try {
    const detail = JSON.parse(entry.detail) as Record<string, unknown>;
    if (entry.action === "audit.key" && typeof detail["publicKey"] === "string") told.publicKeys.add(detail["publicKey"]);
    if (entry.action === "audit.trim") told.trims.add(`${String(detail["through"])}:${String(detail["hash"])}`);
  } catch {
    // Then it tells nothing.
  }
}

/** Follows the chain from its start to its end; throws at the first entry that is not as it was written. */
async function follow(source: Source, start: Head, marks: ReadonlyMap<number, string>, told: Told, progress: (seq: number) => void, signal: AbortSignal): Promise<Head> {
  let head = start;
  for (;;) {
    signal.throwIfAborted();
    const page = await source.entries(head.seq);
    const hashes = await Promise.all(page.map((entry) => hashOf(entry)));
    for (const [index, entry] of page.entries()) {
      const next = head.seq + 1;
      if (entry.seq > next) throw new Fault(`Entry ${next} is missing: behind ${head.seq} comes ${entry.seq}.`);
      if (entry.seq < next) throw new Fault(`Entry ${entry.seq} stands where entry ${next} should.`);
      if (hashes[index] !== entry.hash) throw new Fault(`Entry ${entry.seq} was changed after it was written: its hash is not that of its fields.`);
      if (entry.prevHash !== head.hash) throw new Fault(`Entry ${entry.seq} continues another entry ${head.seq} than the one that is there.`);
      const mark = marks.get(entry.seq);
      if (mark !== undefined && mark !== entry.hash) throw new Fault(`Entry ${entry.seq} has another hash than the one that was signed or written down.`);
      head = { seq: entry.seq, hash: entry.hash };
      listen(entry, told);
    }
    progress(head.seq);
    if (page.length < PAGE) return head;
  }
}

export async function verify(source: Source, wanted: Wanted, progress: (seq: number) => void, signal: AbortSignal): Promise<Verdict> {
  const statements: Statement[] = [];
  const say = (result: Statement["result"], text: string): void => void statements.push({ result, text });
  let head: Head | null = null;
  try {
    const signed = await allCheckpoints(source, signal);
    const anchor = signed?.anchor ?? null;
    const start: Head = anchor === null ? { seq: 0, hash: NO_HASH } : { seq: anchor.seq, hash: anchor.hash };
    const marks = new Map<number, string>();
    for (const one of signed?.pages ?? []) {
      const mark = marks.get(one.seq);
      if (mark !== undefined && mark !== one.hash) throw new Fault(`Two checkpoints say different hashes of entry ${one.seq}.`);
      marks.set(one.seq, one.hash);
    }
    if (wanted.head !== null) {
      if (wanted.head.seq <= start.seq && !(wanted.head.seq === start.seq && wanted.head.hash === start.hash)) {
        throw new Fault(`Entry ${wanted.head.seq}, which you wrote down, is not in the log any more, which starts behind entry ${start.seq}.`);
      }
      const mark = marks.get(wanted.head.seq);
      if (mark !== undefined && mark !== wanted.head.hash) throw new Fault(`Entry ${wanted.head.seq} is not the one that you wrote down: its hash is another.`);
      if (wanted.head.seq > start.seq) marks.set(wanted.head.seq, wanted.head.hash);
    }
    const told: Told = { publicKeys: new Set(), trims: new Set() };
    head = await follow(source, start, marks, told, progress, signal);
    const count = head.seq - start.seq;
    if (count === 0) say("open", "There are no entries to verify.");
    else {
      say(
        "holds",
        `All ${whole(count)} entries, from ${start.seq + 1} to ${head.seq}: none is missing, and the SHA-256 hash of each covers all of its fields and the hash of the one before.`,
      );
    }
    if (anchor !== null) {
      if (!told.trims.has(`${anchor.seq}:${anchor.hash}`)) throw new Fault(`The entries up to ${anchor.seq} are gone, and no entry says that they were deleted by age.`);
      say("holds", `Entries up to ${anchor.seq} were deleted by age: the log starts behind a checkpoint of entry ${anchor.seq}, and an entry says so.`);
    }
    if (wanted.head !== null) {
      if (wanted.head.seq > head.seq) throw new Fault(`The log ends at entry ${head.seq}; you wrote down entry ${wanted.head.seq}. Its end was cut off, or an older copy was put back.`);
      say("holds", `Entry ${wanted.head.seq} is the one that you wrote down.`);
    } else say("open", "Nothing was compared with an entry that you wrote down earlier: a log whose end was cut off, or that was put back from an older copy, would look the same.");
    await signatures(signed, wanted, head, told, say, signal);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    say("fails", error.message);
  }
  return { isSound: statements.every((one) => one.result !== "fails") && head !== null && head.seq > 0, statements, head };
}

async function signatures(
  signed: Signed | null,
  wanted: Wanted,
  head: Head,
  told: Told,
  say: (result: Statement["result"], text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  if (signed === null) {
    say("open", "No signature was looked at: your role does not see checkpoints. Whoever can write the database could have hashed a changed log anew.");
    return;
  }
  const { anchor } = signed;
  const all = anchor === null ? signed.pages : [anchor, ...signed.pages.filter((one) => one.seq > anchor.seq)];
  // One that was signed while the entries were being read may be about an entry behind them.
  const checkpoints = all.filter((one) => one.seq <= head.seq);
  if (checkpoints.length === 0) {
    say("open", "There is no signed checkpoint yet; one is made at the latest ten minutes after a new entry.");
    return;
  }
  const keys = new Map<string, CryptoKey>();
  const trusted = wanted.publicKey === null ? null : await keyIdOf(wanted.publicKey);
  for (const key of signed.keys) {
    if ((await keyIdOf(key.publicKey)) !== key.keyId) throw new Fault(`The key that the server calls ${key.keyId} has another id.`);
    const usable = await imported(key.publicKey);
    if (usable !== null) keys.set(key.keyId, usable);
    // Before an anchor there may have been the entry that made it known.
    if (signed.anchor === null && !told.publicKeys.has(key.publicKey) && checkpoints.some((one) => one.keyId === key.keyId)) {
      throw new Fault(`Checkpoints are signed by key ${key.keyId}, which no entry makes known.`);
    }
  }
  if (keys.size === 0 && signed.keys.length > 0) {
    say("open", "Signatures were not verified: this browser knows no Ed25519. The hashes that checkpoints say are those of the entries.");
    return;
  }
  if (wanted.publicKey !== null && trusted !== null) {
    const usable = await imported(wanted.publicKey);
    if (usable !== null) keys.set(trusted, usable);
  }
  const instance = checkpoints[0]?.instanceId;
  for (const checkpoint of checkpoints) {
    signal.throwIfAborted();
    const key = keys.get(checkpoint.keyId);
    if (trusted !== null && checkpoint.keyId !== trusted) throw new Fault(`The checkpoint of entry ${checkpoint.seq} is signed by key ${checkpoint.keyId}, which is not the public key that you gave.`);
    if (key === undefined) throw new Fault(`The checkpoint of entry ${checkpoint.seq} is signed by key ${checkpoint.keyId}, which is not known.`);
    if (checkpoint.instanceId !== instance) throw new Fault(`The checkpoint of entry ${checkpoint.seq} is that of another instance.`);
    if (!(await isSigned(checkpoint, key))) throw new Fault(`The checkpoint of entry ${checkpoint.seq} has a bad signature.`);
  }
  const last = checkpoints.reduce((most, one) => Math.max(most, one.seq), 0);
  say("holds", `${whole(checkpoints.length)} ${checkpoints.length === 1 ? "checkpoint has" : "checkpoints have"} the hash of the entry and a good Ed25519 signature; the last one signs everything up to entry ${last}.`);
  if (last < head.seq) say("open", `Entries ${last + 1} to ${head.seq} are chained, but nobody has signed them yet: that happens ten minutes after the first of them at the latest, and at every export.`);
  if (trusted !== null) say("holds", "The signatures are those of the public key that you gave.");
  else say("open", `Whose signatures they are was not compared: the public key came from this server too (${signed.keys.map((key) => key.publicKey).join(", ")}). Write it down once, keep it elsewhere, and give it here the next time.`);
}
