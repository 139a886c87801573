// What a limit in money comes to in calls.

import type { Price } from "../api/types";
import { nanos } from "../format/money";

const MILLION = 1_000_000n;

/** What a call costs, in nano-dollars, rounded up; `null` without a price. */
export function costOfCall(price: Price, inputTokens: number, outputTokens: number): bigint | null {
  const input = price.inputUsd === null ? null : nanos(price.inputUsd);
  const output = price.outputUsd === null ? 0n : nanos(price.outputUsd);
  if (input === null || output === null) return null;
  const cost = BigInt(inputTokens) * input + BigInt(outputTokens) * output;
  return (cost + MILLION - 1n) / MILLION;
}

/** How many such calls an amount is good for; `null` when they cost nothing. */
export function callsFor(amount: bigint, cost: bigint): bigint | null {
  return cost <= 0n ? null : amount / cost;
}

/** "about 400": two digits are enough for an estimate. */
export function about(count: bigint): string {
  if (count < 100n) return count.toString();
  const step = 10n ** BigInt(count.toString().length - 2);
  return ((count / step) * step).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}
