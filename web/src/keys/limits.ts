// Limits as people write them, as the API takes them.

import { decimal, nanos } from "../format/money";
import { parseWhole } from "../format/number";

export interface LimitTexts {
  readonly spend: string;
  readonly calls: string;
  readonly tokens: string;
}

export interface LimitErrors {
  readonly spend?: string;
  readonly calls?: string;
  readonly tokens?: string;
  readonly all?: string;
}

/** `$1,000.50` as nano-dollars; `null` for what is no amount above zero. */
export function parseUsd(text: string): bigint | null {
  const value = nanos(text.replace(/[$,\s]/g, ""));
  return value !== null && value > 0n ? value : null;
}

const WHOLE = "A whole number above 0, such as 100, 20k or 2M.";

export function limitsOf(texts: LimitTexts): { readonly body: Readonly<Record<string, unknown>>; readonly errors: LimitErrors } {
  const body: Record<string, unknown> = {};
  const errors: { -readonly [Name in keyof LimitErrors]: LimitErrors[Name] } = {};
  if (texts.spend.trim() !== "") {
    const value = parseUsd(texts.spend);
    if (value === null) errors.spend = "An amount in US dollars above 0, such as 5 or 0.25, with at most 9 decimals.";
    else body["max_spend_usd"] = decimal(value);
  }
  for (const [name, field] of [
    ["tokens", "max_tokens"],
    ["calls", "max_activations"],
  ] as const) {
    if (texts[name].trim() === "") continue;
    const value = parseWhole(texts[name]);
    if (value === null || value === 0) errors[name] = WHOLE;
    else body[field] = value;
  }
  if (Object.keys(body).length === 0 && Object.keys(errors).length === 0) errors.all = "Set at least one limit: money, tokens or calls.";
  return { body, errors };
}
