// Money is decimal strings to the nano-dollar. It is counted in whole nano-dollars as BigInt; floating point is for the
// position of a point in a chart, never for what is written.

const NANOS = 1_000_000_000n;

/** `"0.25"` as nano-dollars; `null` for what is no amount. */
export function nanos(usd: string): bigint | null {
  const found = /^(-?)([0-9]{1,20})(?:\.([0-9]{1,9}))?$/.exec(usd.trim());
  if (!found) return null;
  const [, sign, whole, part] = found;
  const value = BigInt(whole ?? "0") * NANOS + BigInt((part ?? "").padEnd(9, "0") || "0");
  return sign === "-" ? -value : value;
}

/** Nano-dollars as the API takes them: `0.25`. */
export function decimal(value: bigint): string {
  const sign = value < 0n ? "-" : "";
  const size = value < 0n ? -value : value;
  const part = (size % NANOS).toString().padStart(9, "0").replace(/0+$/, "").padEnd(2, "0");
  return `${sign}${size / NANOS}.${part}`;
}

function grouped(whole: string): string {
  return whole.replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Every digit there is: `$1,234.000000001`. */
export function usdExact(amount: string | bigint): string {
  const value = typeof amount === "bigint" ? amount : nanos(amount);
  if (value === null) return String(amount);
  const [whole = "0", part = "00"] = decimal(value < 0n ? -value : value).split(".");
  return `${value < 0n ? "−" : ""}$${grouped(whole)}.${part}`;
}

/** Short: two digits behind the point, more only for amounts below a dollar. What is not nothing never shows as nothing. */
export function usd(amount: string | bigint): string {
  const value = typeof amount === "bigint" ? amount : nanos(amount);
  if (value === null) return String(amount);
  const size = value < 0n ? -value : value;
  if (size === 0n) return "$0.00";
  if (size < 100_000n) return value < 0n ? "−<$0.0001" : "<$0.0001";
  const digits = size >= NANOS ? 2 : 4;
  const step = 10n ** BigInt(9 - digits);
  const rounded = ((size + step / 2n) / step) * step;
  return usdExact(value < 0n ? -rounded : rounded);
}

/** For the height of a point in a chart. */
export function usdHeight(amount: string): number {
  return Number(nanos(amount) ?? 0n) / 1e9;
}

export function sumUsd(amounts: Iterable<string>): bigint {
  let sum = 0n;
  for (const amount of amounts) sum += nanos(amount) ?? 0n;
  return sum;
}

/** How much of a whole, from 0 to 1. */
export function share(part: string, whole: string): number {
  const [used, limit] = [nanos(part) ?? 0n, nanos(whole) ?? 0n];
  if (limit <= 0n) return used > 0n ? 1 : 0;
  return Number((used * 10_000n) / limit) / 10_000;
}
