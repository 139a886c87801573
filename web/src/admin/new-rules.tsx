// The rules of something that is being made: most need none, so they are folded away until somebody wants them.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { formOf, type Mistakes, NO_RULES, policyBody, policyOf } from "./policy";
import { PolicyFields } from "./policy-form";

interface NewRules {
  readonly fields: ComponentChildren;
  /** What goes into the body; `null` where a field has to be put right first, which then says so. */
  readonly read: () => { readonly policy?: object } | null;
}

export function useNewRules(summary: string, whose: string): NewRules {
  const [form, setForm] = useState(formOf(NO_RULES));
  const [mistakes, setMistakes] = useState<Mistakes>({});
  const [isOpen, setOpen] = useState(false);
  const read = () => {
    const parsed = policyOf(form, NO_RULES);
    if ("mistakes" in parsed) {
      setMistakes(parsed.mistakes);
      setOpen(true);
      return null;
    }
    setMistakes({});
    const policy = policyBody(parsed.policy);
    return policy === null ? {} : { policy };
  };
  const fields = (
    <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{summary}</summary>
      <PolicyFields form={form} onChange={setForm} mistakes={mistakes} whose={whose} />
    </details>
  );
  return { fields, read };
}
