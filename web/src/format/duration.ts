// Lengths of time as somebody types them: `7d`, `12 h`, `1h 30min`.

const SECONDS: Readonly<Record<string, number>> = { s: 1, min: 60, m: 60, h: 3_600, d: 86_400, w: 604_800 };

/** Whole seconds; `null` for what is no length of time. A number without a unit is none: nobody knows what it would count. */
export function parseSpan(text: string): number | null {
  const clean = text.trim().toLowerCase();
  if (!/^([0-9]{1,10}\s*(s|min|m|h|d|w)\s*)+$/.test(clean)) return null;
  let sum = 0;
  for (const [, count, unit] of clean.matchAll(/([0-9]+)\s*(s|min|m|h|d|w)/g)) sum += Number(count) * (SECONDS[unit ?? ""] ?? 0);
  return Number.isSafeInteger(sum) ? sum : null;
}

/** The same text for the same length, without rounding: `36 h`, not `1 d 12 h`. */
export function span(seconds: number): string {
  for (const unit of ["d", "h", "min"]) {
    const length = SECONDS[unit] ?? 1;
    if (seconds >= length && seconds % length === 0) return `${seconds / length} ${unit}`;
  }
  return `${seconds} s`;
}
