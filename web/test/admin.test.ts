import assert from "node:assert/strict";
import { test } from "node:test";
import type { Policy } from "../src/api/types";
import { passwordError, randomPassword } from "../src/admin/new-password";
import { formOf, isSamePolicy, NO_RULES, policyBody, policyOf, rulesInShort, rulesOf } from "../src/admin/policy";
import { rowOf } from "../src/admin/price-row";
import { mayAdminister, rolesUpTo } from "../src/admin/roles";
import { parseSpan, span } from "../src/format/duration";

const NO_LIMITS = NO_RULES.keyLimits;
const RULES: Policy = {
  ceilings: { day: { ...NO_LIMITS, maxSpendUsd: "5.00" }, month: { maxActivations: 1, maxTokens: 2_000_000, maxSpendUsd: null }, lifetime: NO_LIMITS },
  maxLiveKeys: 0,
  providers: [],
  models: ["gpt-5*", "o3"],
  keyLimits: { ...NO_LIMITS, maxSpendUsd: "0.000000001" },
  maxKeyLifetimeSeconds: 129_600,
};

test("lengths of time are read and written without rounding", () => {
  const table: readonly [string, number | null][] = [["7d", 604_800], ["12 h", 43_200], ["1h 30min", 5_400], ["90m", 5_400], ["2w", 1_209_600], ["0s", 0], ["7", null], ["", null], ["-1d", null], ["1.5h", null], ["d", null]];
  for (const [text, seconds] of table) assert.equal(parseSpan(text), seconds, text);
  for (const seconds of [1, 59, 60, 3_600, 129_600, 86_400, 604_800, 86_401]) assert.equal(parseSpan(span(seconds)), seconds);
});

test("rules go through a form unchanged", () => {
  for (const policy of [NO_RULES, RULES]) {
    const parsed = policyOf(formOf(policy), policy);
    assert.ok("policy" in parsed);
    assert.deepEqual(parsed.policy, policy);
    assert.ok(isSamePolicy(parsed.policy, policy));
  }
});

test("rules are sent as the API takes them", () => {
  assert.equal(policyBody(NO_RULES), null);
  assert.deepEqual(JSON.parse(JSON.stringify(policyBody(RULES))), {
    ceilings: { day: { max_spend_usd: "5.00" }, month: { max_activations: 1, max_tokens: 2_000_000 } },
    max_live_keys: 0,
    providers: [],
    models: ["gpt-5*", "o3"],
    key_limits: { max_spend_usd: "0.000000001" },
    max_key_lifetime_seconds: 129_600,
  });
});

test("what somebody typed is read, and mistakes are found at their field", () => {
  const form = formOf(NO_RULES);
  const day = (usd: string, tokens: string, calls: string) => ({ ...form, limits: { ...form.limits, day: { usd, tokens, calls } } });
  const good = policyOf({ ...day("$5", "10k", "1,000"), models: "gpt-5*, o3\n\n", keyLifetime: "7d" }, NO_RULES);
  assert.ok("policy" in good);
  assert.deepEqual(good.policy.ceilings.day, { maxSpendUsd: "5.00", maxTokens: 10_000, maxActivations: 1000 });
  assert.deepEqual(good.policy.models, ["gpt-5*", "o3"]);
  const bad = policyOf({ ...day("free", "0", "1.5"), liveKeys: "-1", keyLifetime: "7" }, NO_RULES);
  assert.ok("mistakes" in bad);
  assert.deepEqual(Object.keys(bad.mistakes).sort(), ["day.calls", "day.tokens", "day.usd", "keyLifetime", "liveKeys"]);
});

test("rules are told in words", () => {
  assert.deepEqual(rulesOf(NO_RULES), []);
  assert.deepEqual(rulesOf(RULES).map((rule) => rule.text), ["at most $5.00", "at most 2,000,000 tokens, 1 call", "at most 0 keys", "at most $0.000000001", "36 h", "none", "gpt-5*, o3"]);
  assert.equal(rulesInShort(RULES), "$5.00 per day; 2M tokens, 1 call per month; 0 live keys; <$0.0001 per key; keys of 36 h; 0 providers; 2 model patterns");
});

test("nobody is offered a role above their own, or somebody of another project", () => {
  assert.deepEqual(rolesUpTo("minter"), ["minter", "auditor", "viewer"]);
  assert.equal(rolesUpTo("owner").length, 5);
  const admin = { role: "admin", project: "a" } as const;
  assert.ok(mayAdminister(admin, { role: "admin", project: "a" }));
  assert.ok(!mayAdminister(admin, { role: "owner", project: "a" }));
  assert.ok(!mayAdminister(admin, { role: "viewer", project: null }));
  assert.ok(!mayAdminister(admin, { role: "viewer", project: "b" }));
  assert.ok(mayAdminister({ role: "admin", project: null }, { role: "viewer", project: "b" }));
});

test("passwords at random are long and can be read aloud", () => {
  assert.match(randomPassword(new Uint8Array(25).fill(255)), /^[a-z2-9]{5}(-[a-z2-9]{5}){4}$/);
  assert.equal(passwordError("12345678901"), "At least 12 characters");
  assert.equal(passwordError(randomPassword()), null);
});

test("a price is a row of TOML to start from, whatever the model is called", () => {
  const price = { provider: "openai", model: 'a "model"\n\\', inputUsd: "0.15", outputUsd: "0.60", cachedInputUsd: null, contextWindow: null, maxOutput: null, source: "litellm", custom: false };
  assert.equal(rowOf(price), '[[prices]]\nprovider = "openai"\nmodel = "a \\"model\\"\\n\\\\"\ninput = "0.15"\noutput = "0.60"\n');
  assert.equal(rowOf({ ...price, inputUsd: null, outputUsd: null, cachedInputUsd: "0.01" }).split("\n")[3], 'cache_read = "0.01"');
});
