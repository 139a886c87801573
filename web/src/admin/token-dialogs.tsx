// Changing and rotating an admin token.

import { useState } from "preact/hooks";
import { call, path } from "../api/client";
import type { AdminToken } from "../api/types";
import { parseSpan, span } from "../format/duration";
import { local, localInput } from "../format/time";
import { changed } from "../live";
import { Select, TextArea, TextField } from "../ui/field";
import { FormDialog, ifMatch } from "./form-dialog";
import { RoleSelect } from "./role-fields";

export interface Answer {
  readonly token: AdminToken;
}

export interface SecretAnswer extends Answer {
  readonly adminToken: string;
}

/** The token of the first start: it can be rotated, not revoked. */
export const OWNER = "owner";

export const at = (id: string): string => path`/admin/tokens/${id}`;

/** Networks as somebody types them. */
export const words = (text: string): readonly string[] => text.split(/[\s,]+/).filter((one) => one !== "");

/** As the control for dates and times has it, as the API takes it; `null` for what is no time to come. */
export function timeToCome(text: string): string | null {
  const at = Date.parse(text);
  return at > Date.now() ? new Date(at).toISOString() : null;
}

export const NO_TIME = "A date and a time that are still to come";

export function EditDialog({ of, onClose, onDone }: { readonly of: AdminToken; readonly onClose: () => void; readonly onDone: () => void }) {
  const before = of.networks?.join("\n") ?? "";
  const [name, setName] = useState(of.name);
  const [role, setRole] = useState(of.role);
  const [networks, setNetworks] = useState(before);
  const endBefore = localInput(of.expiresAt);
  const [end, setEnd] = useState(endBefore);
  const expiresAt = end === "" ? null : timeToCome(end);
  const isEndGood = end === endBefore || end === "" || expiresAt !== null;
  const submit = async (): Promise<boolean> => {
    if (!isEndGood) return false;
    const list = words(networks);
    const body = {
      ...(name.trim() !== of.name && { name: name.trim() }),
      ...(role !== of.role && { role }),
      ...(networks !== before && { networks: list.length === 0 ? null : list }),
      ...(end !== endBefore && { expires_at: expiresAt }),
    };
    if (Object.keys(body).length > 0) await call("PATCH", at(of.id), { body, headers: ifMatch(of.version) });
    changed(["admin"]);
    onDone();
    return true;
  };
  return (
    <FormDialog title={`Change ${of.name}`} action="Save" onClose={onClose} onSubmit={submit}>
      <TextField label="Name" value={name} onInput={setName} required maxLength={256} autocomplete="off" />
      {of.id !== OWNER && <RoleSelect value={role} onChange={setRole} />}
      {of.id !== OWNER && <TextField label="Ends" type="datetime-local" value={end} onInput={setEnd} hint="In your time zone. Empty is never." error={isEndGood ? null : NO_TIME} />}
      <TextArea label="Networks" value={networks} onInput={setNetworks} hint="It can be used from these only, one on a line; from everywhere if empty" placeholder="10.0.0.0/8" />
      <p class="hint">Counts from its next request on.</p>
    </FormDialog>
  );
}

const OVERLAPS = [
  { value: "0", label: "Stops at once" },
  { value: "600", label: "Works 10 more minutes" },
  { value: "3600", label: "Works 1 more hour" },
  { value: "86400", label: "Works 1 more day" },
  { value: "604800", label: "Works 7 more days" },
  { value: "other", label: "Works for another time …" },
];

const OVERLAP_MAX = 30 * 86_400;

export function RotateDialog({ of, onClose, onDone }: { readonly of: AdminToken; readonly onClose: () => void; readonly onDone: (text: string) => void }) {
  const [choice, setChoice] = useState("3600");
  const [other, setOther] = useState("2d");
  const seconds = choice === "other" ? parseSpan(other) : Number(choice);
  const isGood = seconds !== null && seconds <= OVERLAP_MAX;
  const submit = async (): Promise<boolean> => {
    if (!isGood) return false;
    const answer = await call<SecretAnswer>("POST", `${at(of.id)}/rotate`, { body: { overlap_seconds: seconds }, headers: ifMatch(of.version) });
    changed(["admin"]);
    onDone(answer.adminToken);
    return true;
  };
  return (
    <FormDialog title={`Rotate ${of.name}?`} action="Make a new text" onClose={onClose} onSubmit={submit} isDanger={seconds === 0}>
      <p>The token gets a new text, which is shown once. Its id, role and rules stay.</p>
      <Select label="The old text" value={choice} onChange={setChoice} choices={OVERLAPS} />
      {choice === "other" && <TextField label="For how long" value={other} onInput={setOther} error={isGood ? null : "A length of time up to 30 days, such as 2d or 12h"} autocomplete="off" />}
      <p role="status">
        {!isGood
          ? ""
          : seconds === 0
            ? "Whatever uses the old text is refused from its next request on, until it has the new one."
            : `Whatever uses the old text has ${span(seconds)}, until ${local(Date.now() + seconds * 1000)}, to get the new one.`}
      </p>
    </FormDialog>
  );
}
