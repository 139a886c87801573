const WHOLE = new Intl.NumberFormat("en-US");
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const PERCENT = new Intl.NumberFormat("en-US", { style: "percent", maximumFractionDigits: 1 });

/** `1,234,567` */
export const whole = (value: number): string => WHOLE.format(value);

/** `1.2M` from a hundred thousand on; below that every digit. */
export const compact = (value: number): string => (Math.abs(value) < 100_000 ? WHOLE.format(value) : COMPACT.format(value));

/** `12.5%` of a share from 0 to 1; what is not nothing never shows as nothing. */
export function percent(share: number): string {
  if (share > 0 && share < 0.001) return "<0.1%";
  return PERCENT.format(share);
}

/** `1 call`, `2 calls` */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${compact(value)} ${value === 1 ? one : many}`;
}

/** A whole number that somebody typed, with separators or without, `k` and `M` allowed; `null` if it is none. */
export function parseWhole(text: string): number | null {
  const found = /^([0-9]+)([kKmM]?)$/.exec(text.replace(/[\s,_]/g, ""));
  if (!found) return null;
  const factor = { k: 1e3, m: 1e6 }[found[2]?.toLowerCase() ?? ""] ?? 1;
  const value = Number(found[1]) * factor;
  return Number.isSafeInteger(value) ? value : null;
}
