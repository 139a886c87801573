// The fields for rules, within a form.

import { TextArea, TextField } from "../ui/field";
import type { LimitsForm, LimitsPlace, Mistakes, PolicyForm } from "./policy";

interface Props {
  readonly form: PolicyForm;
  readonly onChange: (form: PolicyForm) => void;
  readonly mistakes: Mistakes;
  /** Whose keys the ceilings are about: `its keys`. */
  readonly whose: string;
}

const PLACES: readonly { readonly place: LimitsPlace; readonly title: (whose: string) => string }[] = [
  { place: "day", title: (whose) => `All ${whose} together, a day (UTC)` },
  { place: "month", title: (whose) => `All ${whose} together, a month (UTC)` },
  { place: "lifetime", title: (whose) => `All ${whose} together, in all` },
  { place: "key", title: () => "Limits that each key needs, or lower ones" },
];

const FIELDS: readonly { readonly name: keyof LimitsForm; readonly label: string; readonly mode: "decimal" | "numeric" }[] = [
  { name: "usd", label: "US dollars", mode: "decimal" },
  { name: "tokens", label: "Tokens", mode: "numeric" },
  { name: "calls", label: "Calls", mode: "numeric" },
];

export function PolicyFields({ form, onChange, mistakes, whose }: Props) {
  const setLimit = (place: LimitsPlace, name: keyof LimitsForm) => (value: string) =>
    onChange({ ...form, limits: { ...form.limits, [place]: { ...form.limits[place], [name]: value } } });
  return (
    <>
      <p class="hint">What is empty is not restricted. Limits that are set count what was used in their day or month so far.</p>
      {PLACES.map(({ place, title }) => (
        <fieldset key={place} class="limits">
          <legend>{title(whose)}</legend>
          <div class="fields">
            {FIELDS.map(({ name, label, mode }) => (
              <TextField
                key={name}
                label={label}
                inputMode={mode}
                value={form.limits[place][name]}
                onInput={setLimit(place, name)}
                error={mistakes[`${place}.${name}`]}
                placeholder="no limit"
                autocomplete="off"
              />
            ))}
          </div>
        </fieldset>
      ))}
      <div class="fields">
        <TextField label="Live keys at a time" inputMode="numeric" value={form.liveKeys} onInput={(liveKeys) => onChange({ ...form, liveKeys })} error={mistakes["liveKeys"]} placeholder="no limit" autocomplete="off" />
        <TextField label="Each key ends within" value={form.keyLifetime} onInput={(keyLifetime) => onChange({ ...form, keyLifetime })} error={mistakes["keyLifetime"]} placeholder="no limit; 7d, 12h" autocomplete="off" />
      </div>
      <div class="fields">
        <TextArea label="Providers" value={form.providers} onInput={(providers) => onChange({ ...form, providers })} hint="Ids, one on a line; all if empty" placeholder="openai" />
        <TextArea label="Models" value={form.models} onInput={(models) => onChange({ ...form, models })} hint="One on a line, * for any characters; all if empty" placeholder="gpt-5*" />
      </div>
    </>
  );
}
