// A price as it stands in a file of prices.

import type { Price } from "../api/types";

/** As a string of TOML. */
const quoted = (text: string): string => JSON.stringify(text).replaceAll("\u007f", "\\u007f");

/** A row of prices as it is in force, to start from. */
export function rowOf(price: Price): string {
  const lines = ["[[prices]]", `provider = ${quoted(price.provider)}`, `model = ${quoted(price.model)}`];
  if (price.inputUsd !== null) lines.push(`input = ${quoted(price.inputUsd)}`);
  if (price.cachedInputUsd !== null) lines.push(`cache_read = ${quoted(price.cachedInputUsd)}`);
  if (price.outputUsd !== null) lines.push(`output = ${quoted(price.outputUsd)}`);
  return `${lines.join("\n")}\n`;
}
