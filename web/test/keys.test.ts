import assert from "node:assert/strict";
import { test } from "node:test";
import type { Price } from "../src/api/types";
import { nanos } from "../src/format/money";
import { about, callsFor, costOfCall } from "../src/keys/cost";
import { limitsOf } from "../src/keys/limits";
import { shellWord, snippets } from "../src/keys/snippets";

const PRICE: Price = {
  provider: "openai",
  model: "m",
  inputUsd: "2.50",
  outputUsd: "10.00",
  cachedInputUsd: null,
  contextWindow: null,
  maxOutput: null,
  source: "configuration",
  custom: true,
};

test("a limit in money is explained in calls", () => {
  const cost = costOfCall(PRICE, 1500, 500);
  assert.equal(cost, nanos("0.00875"));
  assert.equal(callsFor(nanos("5") ?? 0n, cost ?? 0n), 571n);
  assert.equal(about(571n), "570");
  assert.equal(about(99n), "99");
  assert.equal(about(1_234_567n), "1,200,000");
  assert.equal(costOfCall({ ...PRICE, inputUsd: null }, 1, 1), null);
  assert.equal(costOfCall({ ...PRICE, inputUsd: "0.15", outputUsd: null }, 1, 0), 150n);
  assert.equal(callsFor(1n, 0n), null);
});

test("snippets hold the key and quote what is put into them", () => {
  const all = snippets({ provider: "openai", baseUrl: "http://h/v1", keyEnv: "OPENAI_API_KEY", key: "till_sk_x", model: `a"'$(b)` });
  assert.deepEqual(all.map((one) => one.id), ["env", "python", "typescript", "curl"]);
  for (const one of all) assert.ok(one.text.includes("till_sk_x"), one.id);
  assert.ok(all[1]?.text.includes(String.raw`model="a\"'$(b)"`));
  assert.equal(shellWord("it's"), String.raw`'it'\''s'`);
  assert.deepEqual(snippets({ provider: "acme", baseUrl: "http://h", keyEnv: null, key: "k", model: null }).map((one) => one.id), ["env", "curl"]);
});

test("limits are read as people write them, and only what is given is sent", () => {
  assert.deepEqual(limitsOf({ spend: "5", calls: "", tokens: "2M" }), { body: { max_spend_usd: "5.00", max_tokens: 2_000_000 }, errors: {} });
  assert.deepEqual(limitsOf({ spend: "$1,000.5", calls: "10", tokens: "" }).body, { max_spend_usd: "1000.50", max_activations: 10 });
  assert.ok(limitsOf({ spend: "0", calls: "", tokens: "" }).errors.spend);
  assert.ok(limitsOf({ spend: "", calls: "-1", tokens: "" }).errors.calls);
  assert.ok(limitsOf({ spend: "", calls: "", tokens: "" }).errors.all);
});
