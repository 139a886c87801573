import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditEntry } from "../src/api/types";
import { fromHex, hashOf, millis } from "../src/audit/chain";
import { changesOf, detailOf, factsOf, parseExact, summaryOf } from "../src/audit/detail";
import { parseHead, type Source, verify, type Wanted } from "../src/audit/verify";
import { LOG } from "./audit-log";

const ENTRIES: readonly AuditEntry[] = LOG.entries;
const PUBLIC_KEY = LOG.checkpoints.keys[0]?.publicKey ?? "";
const NOTHING: Wanted = { publicKey: null, head: null };

const source = (entries: readonly AuditEntry[], checkpoints: Partial<typeof LOG.checkpoints> | null = {}): Source => ({
  entries: async (after) => entries.filter((entry) => entry.seq > after),
  checkpoints: checkpoints === null ? null : async (after) => ({ ...LOG.checkpoints, ...checkpoints, ...(after > 0 && { checkpoints: [] }) }),
});

async function verdict(from: Source, wanted: Wanted = NOTHING) {
  const { isSound, statements, head } = await verify(from, wanted, () => undefined, new AbortController().signal);
  return { isSound, head, fails: statements.filter((one) => one.result === "fails").map((one) => one.text), text: statements.map((one) => `${one.result}: ${one.text}`).join("\n") };
}

test("entries that till wrote have the hashes that are computed here", async () => {
  for (const entry of ENTRIES) assert.equal(await hashOf(entry), entry.hash);
  const first = ENTRIES[0];
  assert.ok(first);
  assert.notEqual(await hashOf({ ...first, target: `${first.target} ` }), first.hash);
  assert.notEqual(await hashOf({ ...first, actor: { ...first.actor, address: "" } }), first.hash);
  assert.equal(await hashOf({ ...first, at: "yesterday" }), null);
  assert.equal(millis("2026-01-31T08:00:00.25Z"), 1_769_846_400_250n);
  assert.equal(millis("2026-01-31T08:00:00Z"), 1_769_846_400_000n);
  assert.equal(fromHex("ABC"), null);
});

test("a sound log is sound, and what was not looked at is said", async () => {
  const head = ENTRIES.at(-1);
  assert.ok(head);
  const plain = await verdict(source(ENTRIES));
  assert.deepEqual(plain.fails, []);
  assert.ok(plain.isSound);
  assert.match(plain.text, /holds: All 4 entries/);
  assert.match(plain.text, /open: Entries 4 to 4 are chained/);
  assert.match(plain.text, /open: Whose signatures they are was not compared/);
  assert.deepEqual(plain.head, { seq: 4, hash: head.hash });
  const compared = await verdict(source(ENTRIES), { publicKey: PUBLIC_KEY, head: { seq: 4, hash: head.hash } });
  assert.ok(compared.isSound);
  assert.match(compared.text, /holds: Entry 4 is the one that you wrote down/);
  assert.match(compared.text, /holds: The signatures are those of the public key that you gave/);
  assert.match((await verdict(source(ENTRIES, null))).text, /open: No signature was looked at/);
});

test("what somebody does to a log is found", async () => {
  const change = (seq: number, with_: Partial<AuditEntry>) => ENTRIES.map((entry) => (entry.seq === seq ? { ...entry, ...with_ } : entry));
  const signature = LOG.checkpoints.checkpoints.map((one) => ({ ...one, signature: `00${one.signature.slice(2)}` }));
  const other = "11".repeat(32);
  const table: readonly [string, Source, Wanted, RegExp][] = [
    ["changed", source(change(2, { target: "elsewhere" })), NOTHING, /Entry 2 was changed/],
    ["removed", source(ENTRIES.filter((entry) => entry.seq !== 2)), NOTHING, /Entry 2 is missing/],
    ["doubled", source([...ENTRIES.slice(0, 2), ...ENTRIES.slice(1)]), NOTHING, /Entry 2 stands where entry 3 should/],
    ["cut off at the front", source(ENTRIES.slice(1)), NOTHING, /Entry 1 is missing/],
    ["signed badly", source(ENTRIES, { checkpoints: signature }), NOTHING, /bad signature/],
    ["another public key", source(ENTRIES), { publicKey: other, head: null }, /not the public key that you gave/],
    ["a key of another id", source(ENTRIES, { keys: [{ keyId: "0".repeat(16), publicKey: PUBLIC_KEY }] }), NOTHING, /has another id/],
    ["cut off at the end", source(ENTRIES.slice(0, 3)), { publicKey: null, head: { seq: 4, hash: other } }, /ends at entry 3/],
    ["another head", source(ENTRIES), { publicKey: null, head: { seq: 4, hash: other } }, /Entry 4 has another hash/],
    ["another signed head", source(ENTRIES), { publicKey: null, head: { seq: 3, hash: other } }, /not the one that you wrote down/],
  ];
  for (const [what, from, wanted, expected] of table) {
    const { isSound, fails } = await verdict(from, wanted);
    assert.equal(isSound, false, what);
    assert.match(fails.join(), expected, what);
  }
  const second = ENTRIES[1];
  assert.ok(second);
  const forged = { ...second, target: "elsewhere" };
  const hash = (await hashOf(forged)) ?? "";
  assert.match((await verdict(source(change(2, { target: "elsewhere", hash })))).fails.join(), /Entry 3 continues another entry 2/, "hashed anew");
});

test("a log that starts behind a checkpoint needs the entry that says why", async () => {
  const anchor = LOG.checkpoints.checkpoints[0] ?? null;
  const { fails } = await verdict(source(ENTRIES, { anchor: anchor as never, checkpoints: [] }));
  assert.match(fails.join(), /no entry says that they were deleted by age/);
});

test("heads are read as they are shown", () => {
  assert.deepEqual(parseHead(` 12:${"Ab".repeat(32)} `), { seq: 12, hash: "ab".repeat(32) });
  for (const text of ["", "12", "12:ab", `-1:${"a".repeat(64)}`]) assert.equal(parseHead(text), null);
});

test("numbers of a detail are not rounded", () => {
  assert.deepEqual(parseExact('{"spendNanos":9223372036854775807,"n":12,"text":"a 9223372036854775807"}'), {
    spendNanos: "9223372036854775807",
    n: 12,
    text: "a 9223372036854775807",
  });
  assert.equal(detailOf("no JSON"), "no JSON");
});

test("a change is told field by field", () => {
  const detail = detailOf('{"project":"p","before":{"limits":{"activations":5,"spendNanos":null},"metadata":{"name":"a"}},"after":{"limits":{"activations":7,"spendNanos":2500000000},"metadata":{"name":"a","x y":"1"}}}');
  const rows = changesOf(detail).map(({ label, before, after }) => [label, before?.text ?? null, after?.text ?? null]);
  assert.deepEqual(rows, [
    ["limits › activations", "5", "7"],
    ["limits › spend", "none", "$2.50"],
    ["metadata › x y", null, "1"],
  ]);
  assert.deepEqual(factsOf(detail).map(({ label, value }) => [label, value.text]), [["project", "p"]]);
  assert.match(summaryOf(detail), /^limits › activations: 5 → 7; /);
});

test("other details are facts; what is absent is left out", () => {
  const detail = detailOf('{"code":"model_denied","count":3,"minute":"2026-11-30T03:00:00Z","project":null,"rate":{},"settings":{"data":"f5"},"tokenHash":"ab"}');
  assert.deepEqual(factsOf(detail).map(({ label, value }) => [label, value.text, value.isTime]), [
    ["code", "model_denied", false],
    ["count", "3", false],
    ["minute", "2026-11-30T03:00:00Z", true],
    ["settings › data", "f5", false],
    ["token hash", "ab", false],
  ]);
  assert.equal(summaryOf(detail), "code: model_denied; count: 3; minute: 2026-11-30T03:00:00Z");
  assert.deepEqual(changesOf(detail), []);
  assert.equal(summaryOf(detailOf("null")), "");
});
