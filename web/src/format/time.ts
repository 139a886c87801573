// Times are shown in the zone of the browser, with UTC beside it where somebody hovers.

const two = (value: number): string => String(value).padStart(2, "0");

/** `2026-01-31 09:05:12` in the zone of the browser. */
export function local(time: string | number | Date, seconds = false): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return String(time);
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}${seconds ? `:${two(at.getSeconds())}` : ""}`;
}

/** As the control for dates and times has it: local time, without a zone. */
export function localInput(time: string | null): string {
  return time === null ? "" : local(time).replace(" ", "T");
}

/** `2026-01-31 08:05:12 UTC` */
export function utc(time: string | number | Date): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return String(time);
  return `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

const STEPS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
] as const;

/** `3 d`, `5 h`, `12 min`, `40 s` of a number of seconds; two steps where the first is small. */
export function duration(seconds: number): string {
  const size = Math.max(0, Math.round(seconds));
  for (const [index, [length, unit]] of STEPS.entries()) {
    if (size < length) continue;
    const count = Math.floor(size / length);
    const next = STEPS[index + 1];
    const rest = next ? Math.floor((size - count * length) / next[0]) : 0;
    return next && rest > 0 && count < 3 ? `${count} ${unit} ${rest} ${next[1]}` : `${count} ${unit}`;
  }
  return "0 s";
}

/** `5 min ago`, `in 2 h`, `just now` */
export function relative(time: string | number | Date, now = Date.now()): string {
  const seconds = (new Date(time).getTime() - now) / 1000;
  if (Number.isNaN(seconds)) return String(time);
  if (Math.abs(seconds) < 5) return "just now";
  return seconds < 0 ? `${duration(-seconds)} ago` : `in ${duration(seconds)}`;
}

/** `812 ms`, `1.2 s` */
export function latency(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** The day of a time in UTC: `2026-01-31`. */
export function utcDay(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

export const DAY_MS = 86_400_000;

/** Days in UTC, oldest first, the last one being that of `now`. */
export function lastDays(count: number, now = Date.now()): string[] {
  return Array.from({ length: count }, (_, index) => utcDay(now - (count - 1 - index) * DAY_MS));
}
