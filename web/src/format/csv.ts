// Comma-separated values after RFC 4180, for spreadsheets.

export type CsvValue = string | number | boolean | null;

/** A spreadsheet runs a text that starts so as a formula; with an apostrophe in front it shows it. */
const FORMULA = /^[=+\-@\t\r]/;
const NUMBER = /^-?[0-9]+(\.[0-9]+)?$/;

function field(value: CsvValue): string {
  if (value === null) return "";
  const text = String(value);
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export const csvLine = (values: readonly CsvValue[]): string => `${values.map(field).join(",")}\r\n`;

export const csv = (heading: readonly string[], rows: readonly (readonly CsvValue[])[]): string =>
  [heading, ...rows].map(csvLine).join("");
