import assert from "node:assert/strict";
import { test } from "node:test";
import type { UsageSum } from "../src/api/types";
import { csv } from "../src/format/csv";
import { sumsCsv } from "../src/usage/export";
import { DAYS_MAX, daysOf, isDay, presetRange, rangeOf, timesOf } from "../src/usage/range";

const NOON = Date.parse("2026-03-01T12:00:00Z");

test("ranges are whole days in UTC", () => {
  assert.deepEqual(presetRange("today", NOON), { from: "2026-03-01", to: "2026-03-01" });
  assert.deepEqual(presetRange("7d", NOON), { from: "2026-02-23", to: "2026-03-01" });
  assert.deepEqual(presetRange("last-month", NOON), { from: "2026-02-01", to: "2026-02-28" });
  assert.deepEqual(timesOf({ from: "2026-02-01", to: "2026-02-28" }), { since: "2026-02-01T00:00:00Z", until: "2026-03-01T00:00:00Z" });
  assert.deepEqual(daysOf({ from: "2026-02-27", to: "2026-03-01" }), ["2026-02-27", "2026-02-28", "2026-03-01"]);
  assert.equal(daysOf({ from: "2000-01-01", to: "2026-03-01" }).length, DAYS_MAX);
  assert.equal(isDay("2026-02-30"), false);
});

test("an address says a range, or means the last 30 days", () => {
  const of = (query: string) => rangeOf(new URLSearchParams(query), NOON);
  assert.deepEqual(of("range=custom&from=2026-01-01&to=2026-01-02"), { preset: "custom", range: { from: "2026-01-01", to: "2026-01-02" } });
  for (const query of ["", "range=custom&from=2026-01-02&to=2026-01-01", "range=custom", "range=x"]) {
    assert.deepEqual(of(query), { preset: "30d", range: { from: "2026-01-31", to: "2026-03-01" } }, query);
  }
});

test("a spreadsheet shows what somebody named, and runs none of it", () => {
  assert.equal(csv(["a", "b"], [["x,y", 'say "hi"'], ["=1+1", "-5"], ["+a", null], ["line\nbreak", true]]), 'a,b\r\n"x,y","say ""hi"""\r\n\'=1+1,-5\r\n\'+a,\r\n"line\nbreak",true\r\n');
});

test("sums are exported exactly, with days where there are days", () => {
  const tokens = { total: 3, input: 2, cacheRead: 1, cacheWrite: 0, output: 1, reasoning: 0 };
  const sum: UsageSum = { day: null, keyId: null, project: null, provider: null, model: "=m", endpoint: null, rest: false, calls: 1, tokens, chargedTokens: 3, chargedUsd: "9223372036.854775807" };
  assert.equal(sumsCsv([sum], "model"), "model,calls,input_tokens,cached_input_tokens,output_tokens,total_tokens,charged_tokens,charged_usd\r\n'=m,1,2,1,1,3,3,9223372036.854775807\r\n");
  assert.match(sumsCsv([{ ...sum, day: "2026-01-31" }], "model"), /^day_utc,model,.*\r\n2026-01-31,'=m,1/);
});
