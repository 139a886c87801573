// Sums of the API by day and group, as the chart takes them.

import type { UsageSum } from "../api/types";
import { usd, nanos, usdExact } from "../format/money";
import { compact, whole } from "../format/number";
import type { Series } from "./chart";

export type Measure = "spend" | "calls" | "tokens";

export const MEASURES: readonly { readonly value: Measure; readonly label: string }[] = [
  { value: "spend", label: "Spend" },
  { value: "calls", label: "Calls" },
  { value: "tokens", label: "Tokens" },
];

/** A value of a sum as a whole number: nano-dollars, calls or tokens. */
function amount(sum: UsageSum, measure: Measure): bigint {
  if (measure === "spend") return nanos(sum.chargedUsd) ?? 0n;
  return BigInt(measure === "calls" ? sum.calls : sum.tokens.total);
}

export const written = (value: bigint, measure: Measure): string => (measure === "spend" ? usdExact(value) : whole(Number(value)));

export const short = (value: bigint, measure: Measure): string => (measure === "spend" ? usd(value) : compact(Number(value)));

/** A value on the axis of a chart. */
export const axis = (measure: Measure) => (value: number): string =>
  measure === "spend" ? `$${value < 10 && !Number.isInteger(value) ? value.toPrecision(2) : compact(value)}` : compact(value);

/** One series per group, dearest first; what the API left over comes last. */
export function seriesOf(sums: readonly UsageSum[], days: readonly string[], measure: Measure, label: (sum: UsageSum) => string): Series[] {
  const places = new Map(days.map((day, index) => [day, index]));
  const groups = new Map<string, { label: string; isRest: boolean; values: bigint[]; total: bigint }>();
  for (const sum of sums) {
    const place = places.get(sum.day ?? "");
    if (place === undefined) continue;
    const id = sum.rest ? "rest" : `group ${label(sum)}`;
    let group = groups.get(id);
    if (group === undefined) {
      group = { label: sum.rest ? "all others" : label(sum), isRest: sum.rest, values: days.map(() => 0n), total: 0n };
      groups.set(id, group);
    }
    const value = amount(sum, measure);
    group.values[place] = (group.values[place] ?? 0n) + value;
    group.total += value;
  }
  const sorted = [...groups.values()].sort(
    (one, other) => Number(one.isRest) - Number(other.isRest) || (other.total > one.total ? 1 : other.total < one.total ? -1 : 0),
  );
  return sorted.map((group) => ({
    label: group.label,
    values: group.values.map((value) => (measure === "spend" ? Number(value) / 1e9 : Number(value))),
    texts: group.values.map((value) => written(value, measure)),
    total: short(group.total, measure),
  }));
}
