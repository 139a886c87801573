// What the page shows, as comma-separated values: amounts exact to the nano-dollar, times in UTC.

import type { UsageGroup, UsageRecord, UsageSum } from "../api/types";
import { csvLine, type CsvValue } from "../format/csv";

const COUNTS = ["calls", "input_tokens", "cached_input_tokens", "output_tokens", "total_tokens", "charged_tokens", "charged_usd"];

const counts = (sum: UsageSum): CsvValue[] => [
  sum.calls,
  sum.tokens.input,
  sum.tokens.cacheRead,
  sum.tokens.output,
  sum.tokens.total,
  sum.chargedTokens,
  sum.chargedUsd,
];

/** What a sum is over, as the API names it. */
export function idOf(sum: UsageSum, group: UsageGroup): string {
  const value = group === "key" ? sum.keyId : sum[group];
  return value ?? "";
}

export function sumsCsv(sums: readonly UsageSum[], group: UsageGroup): string {
  const hasDays = sums.some((sum) => sum.day !== null);
  const heading = csvLine([...(hasDays ? ["day_utc"] : []), group, ...COUNTS]);
  const row = (sum: UsageSum): string => csvLine([...(hasDays ? [sum.day] : []), idOf(sum, group), ...counts(sum)]);
  return heading + sums.map(row).join("");
}

export const CALLS_HEADING = csvLine([
  "time_utc", "request", "key", "provider", "method", "endpoint", "model", "status", "outcome", "denial",
  "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "total_tokens",
  "charged_tokens", "charged_usd", "price_version", "latency_ms", "first_byte_ms", "client", "streamed",
]);

export const callLine = (of: UsageRecord): string =>
  csvLine([
    of.at, of.requestId, of.keyId, of.provider, of.method, of.endpoint, of.model, of.status, of.outcome, of.denial,
    of.tokens.input, of.tokens.cacheRead, of.tokens.output, of.tokens.reasoning, of.tokens.total,
    of.chargedTokens, of.chargedUsd, of.priceVersion, of.latencyMs, of.firstByteMs, of.client, of.streamed,
  ]);
