import assert from "node:assert/strict";
import { test } from "node:test";
import { decimal, nanos, share, sumUsd, usd, usdExact } from "../src/format/money";
import { compact, parseWhole, percent } from "../src/format/number";
import { duration, latency, relative, utc } from "../src/format/time";

test("money is exact to the nano-dollar", () => {
  for (const text of ["0.00", "0.25", "0.000000001", "9223372036.854775807", "1234567.10"]) {
    assert.equal(decimal(nanos(text) ?? -1n), text);
  }
  assert.equal(usdExact("1234567.000000001"), "$1,234,567.000000001");
  assert.equal(usdExact("9223372036.854775807"), "$9,223,372,036.854775807");
  assert.equal(sumUsd(["0.1", "0.2"]), 300_000_000n);
  assert.equal(nanos("1e3"), null);
  assert.equal(nanos("0.0000000001"), null);
  assert.equal(nanos(""), null);
});

test("short money never turns something into nothing", () => {
  const table: readonly [string, string][] = [
    ["0", "$0.00"],
    ["0.000000001", "<$0.0001"],
    ["0.0001", "$0.0001"],
    ["0.25", "$0.25"],
    ["0.12345", "$0.1235"],
    ["1.005", "$1.01"],
    ["1.0049", "$1.00"],
    ["999.999", "$1,000.00"],
  ];
  for (const [amount, shown] of table) assert.equal(usd(amount), shown, amount);
  assert.equal(share("1", "4"), 0.25);
  assert.equal(share("1", "0"), 1);
});

test("numbers", () => {
  assert.equal(compact(99_999), "99,999");
  assert.equal(compact(1_234_567), "1.2M");
  assert.equal(percent(0.0001), "<0.1%");
  assert.equal(percent(0.5), "50%");
  assert.equal(parseWhole("1,000"), 1000);
  assert.equal(parseWhole("2k"), 2000);
  assert.equal(parseWhole("1.5"), null);
  assert.equal(parseWhole("-1"), null);
});

test("times", () => {
  assert.equal(duration(0), "0 s");
  assert.equal(duration(61), "1 min 1 s");
  assert.equal(duration(3 * 3600), "3 h");
  assert.equal(duration(2 * 86_400 + 3600), "2 d 1 h");
  assert.equal(relative(1_000, 61_000), "1 min ago");
  assert.equal(relative(3_661_000, 0), "in 1 h 1 min");
  assert.equal(latency(812), "812 ms");
  assert.equal(latency(1_240), "1.2 s");
  assert.equal(utc("2026-01-31T08:05:12Z"), "2026-01-31 08:05:12 UTC");
});
