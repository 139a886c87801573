// A form in a dialog: sends, shows the error in the words of the API, closes when it worked.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import { changed } from "../live";
import { asApiError } from "../load";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { ErrorNote } from "../ui/state";

interface Props {
  readonly title: string;
  readonly action: string;
  readonly onClose: () => void;
  /** Sends. `false` if a field has to be put right first; an error stays in the dialog. */
  readonly onSubmit: () => Promise<boolean | void>;
  readonly children: ComponentChildren;
  readonly wide?: boolean;
  readonly isDanger?: boolean;
}

export function FormDialog({ title, action, onClose, onSubmit, children, wide = false, isDanger = false }: Props) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setError(null);
    try {
      if ((await onSubmit()) !== false) {
        onClose();
        return;
      }
    } catch (caught) {
      const failed = asApiError(caught);
      setError(failed);
      if (failed.code === CHANGED) changed(["admin"]);
    }
    setBusy(false);
  };
  return (
    <Dialog title={title} onClose={onClose} wide={wide}>
      <form onSubmit={(event) => void submit(event)}>
        {children}
        {error && <ErrorNote error={error} />}
        {error?.code === CHANGED && <p class="hint">Somebody else changed it meanwhile. Close this, look at what it is now, and change it again.</p>}
        <p class="actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind={isDanger ? "danger" : "main"} busy={isBusy}>
            {action}
          </Button>
        </p>
      </form>
    </Dialog>
  );
}

/** What the API says where somebody else was faster. */
const CHANGED = "changed";

/** Does something; where it was changed meanwhile, the page behind shows what it is now. */
export async function orReload(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (asApiError(error).code === CHANGED) changed(["admin"]);
    throw error;
  }
}

/** `If-Match` of the version that somebody saw. */
export const ifMatch = (version: number): Readonly<Record<string, string>> => ({ "if-match": `"${version}"` });

/** So that a request that is sent again makes nothing twice. */
export const once = (word: string): Readonly<Record<string, string>> => ({ "idempotency-key": word });

export const newWord = (): string => hexOf(crypto.getRandomValues(new Uint8Array(16)));

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
