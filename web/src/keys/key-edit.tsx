// Changing a key. Only what somebody changed is sent, made from the version that they saw.

import { useState } from "preact/hooks";
import { type ApiError, call, path } from "../api/client";
import type { Key } from "../api/types";
import { decimal } from "../format/money";
import { parseWhole } from "../format/number";
import { localInput } from "../format/time";
import { asApiError } from "../load";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { TextField } from "../ui/field";
import { ErrorNote } from "../ui/state";
import { toast } from "../ui/toast";
import { parseUsd } from "./limits";
import { nameOf } from "./name";

interface Props {
  readonly of: Key;
  readonly version: string | null;
  readonly onClose: () => void;
  readonly onSaved: () => void;
}

type Names = "name" | "spend" | "tokens" | "calls" | "expires" | "perMinute" | "tokensPerMinute" | "atOnce";
type Texts = Readonly<Record<Names, string>>;

function textsOf(key: Key): Texts {
  const number = (value: number | null) => (value === null ? "" : String(value));
  return {
    name: nameOf(key) ?? "",
    spend: key.maxSpendUsd ?? "",
    tokens: number(key.maxTokens),
    calls: number(key.maxActivations),
    expires: localInput(key.expiresAt),
    perMinute: number(key.rate.requestsPerMinute),
    tokensPerMinute: number(key.rate.tokensPerMinute),
    atOnce: number(key.rate.concurrent),
  };
}

/** What was changed, as the API takes it, and what can't be read. */
export function changesOf(before: Texts, after: Texts): { readonly body: Record<string, unknown>; readonly errors: Partial<Record<Names, string>> } {
  const body: Record<string, unknown> = {};
  const rate: Record<string, unknown> = {};
  const errors: Partial<Record<Names, string>> = {};
  const changed = (name: Names) => before[name] !== after[name];
  if (changed("name")) body["name"] = after.name.trim() === "" ? null : after.name.trim();
  if (changed("spend")) {
    const value = parseUsd(after.spend);
    if (after.spend.trim() === "") body["max_spend_usd"] = null;
    else if (value === null) errors.spend = "An amount in US dollars above 0, with at most 9 decimals.";
    else body["max_spend_usd"] = decimal(value);
  }
  const whole = (name: Names, field: string, to: Record<string, unknown>) => {
    if (!changed(name)) return;
    const value = parseWhole(after[name]);
    if (after[name].trim() === "") to[field] = null;
    else if (value === null || value === 0) errors[name] = "A whole number above 0, such as 100, 20k or 2M.";
    else to[field] = value;
  };
  whole("tokens", "max_tokens", body);
  whole("calls", "max_activations", body);
  whole("perMinute", "requests_per_minute", rate);
  whole("tokensPerMinute", "tokens_per_minute", rate);
  whole("atOnce", "concurrent", rate);
  if (changed("expires")) {
    const at = new Date(after.expires);
    if (after.expires === "") body["expires_at"] = null;
    else if (Number.isNaN(at.getTime())) errors.expires = "A date and a time.";
    else body["expires_at"] = at.toISOString();
  }
  if (Object.keys(rate).length > 0) body["rate"] = rate;
  return { body, errors };
}

export function KeyEdit({ of, version, onClose, onSaved }: Props) {
  // What was there when the dialog opened: meanwhile the page loads on.
  const [start] = useState({ texts: textsOf(of), version });
  const [texts, setTexts] = useState(start.texts);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const { body, errors } = changesOf(start.texts, texts);
  const isSound = Object.keys(errors).length === 0;
  const set = (name: Names) => (text: string) => setTexts((now) => ({ ...now, [name]: text }));
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!isSound || isBusy) return;
    if (Object.keys(body).length === 0) return onClose();
    setBusy(true);
    setError(null);
    try {
      const headers = start.version === null ? {} : { "if-match": start.version };
      await call("PATCH", path`/admin/keys/${of.id}`, { body, headers });
      toast("The key is changed; it counts from the next call on.");
      onSaved();
    } catch (caught) {
      setError(asApiError(caught));
      setBusy(false);
    }
  };
  return (
    <Dialog title="Edit the key" onClose={onClose} wide>
      <form onSubmit={(event) => void submit(event)}>
        <TextField label="Name" value={texts.name} onInput={set("name")} maxLength={256} />
        <div class="fields">
          <TextField label="Money, US dollars" value={texts.spend} onInput={set("spend")} inputMode="decimal" error={errors.spend} hint="Used money included. Empty is no limit." />
          <TextField label="Tokens" value={texts.tokens} onInput={set("tokens")} error={errors.tokens} />
          <TextField label="Calls" value={texts.calls} onInput={set("calls")} error={errors.calls} />
          <TextField label="Ends" type="datetime-local" value={texts.expires} onInput={set("expires")} error={errors.expires} hint="In your time zone. Empty is never." />
          <TextField label="Calls per minute" value={texts.perMinute} onInput={set("perMinute")} error={errors.perMinute} />
          <TextField label="Tokens per minute" value={texts.tokensPerMinute} onInput={set("tokensPerMinute")} error={errors.tokensPerMinute} />
          <TextField label="Calls at the same time" value={texts.atOnce} onInput={set("atOnce")} error={errors.atOnce} />
        </div>
        <p class="hint">A limit below what is used stops the key at once; a higher one lets it go on.</p>
        {error && <ErrorNote error={error} />}
        <p class="actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind="main" busy={isBusy} disabled={!isSound}>
            Save
          </Button>
        </p>
      </form>
    </Dialog>
  );
}
