// Which days a page is about. Sums are kept by day in UTC, so ranges are whole days in UTC.

import { DAY_MS, utcDay } from "../format/time";

export interface Range {
  /** The first and the last day, both of them in it: `2026-01-31`. */
  readonly from: string;
  readonly to: string;
}

export const PRESETS = [
  { value: "today", label: "Today" },
  { value: "7d", label: "7 days" },
  { value: "30d", label: "30 days" },
  { value: "90d", label: "90 days" },
  { value: "month", label: "This month" },
  { value: "last-month", label: "Last month" },
  { value: "custom", label: "Custom" },
] as const;

export type Preset = (typeof PRESETS)[number]["value"];

/** So many days are a column each in a chart. */
export const DAYS_MAX = 731;

export const isDay = (text: string): boolean => {
  const at = Date.parse(`${text}T00:00:00Z`);
  return /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) && !Number.isNaN(at) && utcDay(at) === text;
};

const before = (now: number, days: number): string => utcDay(now - days * DAY_MS);

export function presetRange(preset: Exclude<Preset, "custom">, now = Date.now()): Range {
  const today = utcDay(now);
  switch (preset) {
    case "today":
      return { from: today, to: today };
    case "7d":
      return { from: before(now, 6), to: today };
    case "30d":
      return { from: before(now, 29), to: today };
    case "90d":
      return { from: before(now, 89), to: today };
    case "month":
      return { from: `${today.slice(0, 7)}-01`, to: today };
    case "last-month": {
      const last = Date.parse(`${today.slice(0, 7)}-01T00:00:00Z`) - DAY_MS;
      return { from: `${utcDay(last).slice(0, 7)}-01`, to: utcDay(last) };
    }
  }
}

/** The range of an address; what is none there is the last 30 days. */
export function rangeOf(query: URLSearchParams, now = Date.now()): { readonly preset: Preset; readonly range: Range } {
  const wanted = query.get("range");
  const [from, to] = [query.get("from") ?? "", query.get("to") ?? ""];
  if (wanted === "custom" && isDay(from) && isDay(to) && from <= to) return { preset: "custom", range: { from, to } };
  const preset = PRESETS.find((one) => one.value === wanted && one.value !== "custom")?.value ?? "30d";
  return { preset, range: presetRange(preset === "custom" ? "30d" : preset, now) };
}

/** The days of a range, oldest first. */
export function daysOf({ from, to }: Range): string[] {
  const [first, last] = [Date.parse(`${from}T00:00:00Z`), Date.parse(`${to}T00:00:00Z`)];
  const days: string[] = [];
  for (let at = first; at <= last && days.length < DAYS_MAX; at += DAY_MS) days.push(utcDay(at));
  return days;
}

/** As the API takes it: from the first moment to before the first one behind it. */
export function timesOf({ from, to }: Range): { readonly since: string; readonly until: string } {
  return { since: `${from}T00:00:00Z`, until: `${utcDay(Date.parse(`${to}T00:00:00Z`) + DAY_MS)}T00:00:00Z` };
}
