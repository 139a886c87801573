// Changes the rules of a project, a member, a token or a credential.

import { useState } from "preact/hooks";
import { call } from "../api/client";
import type { Policy } from "../api/types";
import { changed } from "../live";
import { toast } from "../ui/toast";
import { FormDialog, ifMatch } from "./form-dialog";
import { formOf, isSamePolicy, type Mistakes, policyBody, policyOf } from "./policy";
import { PolicyFields } from "./policy-form";

interface Props {
  readonly of: { readonly policy: Policy; readonly version: number };
  /** Where it is in the API. */
  readonly at: string;
  readonly name: string;
  readonly whose: string;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

export function RulesDialog({ of, at, name, whose, onClose, onDone }: Props) {
  const [form, setForm] = useState(formOf(of.policy));
  const [mistakes, setMistakes] = useState<Mistakes>({});
  const submit = async (): Promise<boolean> => {
    const parsed = policyOf(form, of.policy);
    setMistakes("mistakes" in parsed ? parsed.mistakes : {});
    if ("mistakes" in parsed) return false;
    if (isSamePolicy(parsed.policy, of.policy)) return true;
    await call("PATCH", at, { body: { policy: policyBody(parsed.policy) }, headers: ifMatch(of.version) });
    changed(["admin"]);
    toast(`The rules of ${name} are changed. Ceilings count from the next call on; keys that there are stay as they are.`);
    onDone();
    return true;
  };
  return (
    <FormDialog title={`Rules of ${name}`} action="Save" onClose={onClose} onSubmit={submit} wide>
      <PolicyFields form={form} onChange={setForm} mistakes={mistakes} whose={whose} />
    </FormDialog>
  );
}
