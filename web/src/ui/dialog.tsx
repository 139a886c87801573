// Dialogs are the browser's own: it keeps the focus inside, closes on Escape and gives the focus back.
//
// Invariant: a dialog that its owner goes on to show is open. A browser lets a page refuse to close one once only, and closes it
// the second time without asking.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { asApiError } from "../load";
import { Button } from "./button";
import { Field } from "./field";
import { ErrorNote } from "./state";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  readonly wide?: boolean;
}

export function Dialog({ title, onClose, children, wide = false }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const shown = element.current;
    shown?.showModal();
    // To the first thing to fill in; without any the browser has chosen the button that closes.
    shown?.querySelector<HTMLElement>("form :is(input, select, textarea)")?.focus();
    return () => shown?.close();
  }, []);
  const cancel = (event: Event) => {
    event.preventDefault();
    onClose();
  };
  // It is closed here only by the browser, which asked nobody.
  const closed = () => {
    if (element.current === null) return;
    onClose();
    setTimeout(() => element.current?.isConnected && !element.current.open && element.current.showModal());
  };
  return (
    <dialog ref={element} class={wide ? "dialog wide" : "dialog"} aria-labelledby={id} onCancel={cancel} onClose={closed}>
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" class="close" aria-label="Close" onClick={onClose}>
          ×
        </button>
      </header>
      {children}
    </dialog>
  );
}

export interface Question {
  readonly title: string;
  /** What will happen. */
  readonly text: ComponentChildren;
  readonly action: string;
  readonly isDanger?: boolean;
  /** What has to be typed first, for what can't be undone and touches much. */
  readonly typed?: string;
  /** Asks for a reason, which `run` gets. */
  readonly reason?: string;
  /** Done while the dialog is open; an error is shown in it. */
  readonly run: (reason: string) => Promise<void>;
}

const question = signal<Question | null>(null);

/** Asks before something is done, and says what will happen. */
export function ask(asked: Question): void {
  question.value = asked;
}

export function Questions() {
  const asked = question.value;
  if (asked === null) return null;
  return <Confirm key={asked.title} asked={asked} onClose={() => (question.value = null)} />;
}

function Confirm({ asked, onClose }: { readonly asked: Question; readonly onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const [reason, setReason] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const isReady = asked.typed === undefined || typed.trim() === asked.typed;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!isReady || isBusy) return;
    setBusy(true);
    setError(null);
    try {
      await asked.run(reason.trim());
      onClose();
    } catch (caught) {
      setError(asApiError(caught));
      setBusy(false);
    }
  };
  return (
    <Dialog title={asked.title} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <div class="prose">{asked.text}</div>
        {asked.reason !== undefined && (
          <Field label={asked.reason} hint="Optional; others see it.">
            {(props) => <input {...props} value={reason} maxLength={256} onInput={(event) => setReason(event.currentTarget.value)} />}
          </Field>
        )}
        {asked.typed !== undefined && (
          <Field label={`Type ${asked.typed} to go on`}>
            {(props) => (
              <input {...props} value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
            )}
          </Field>
        )}
        {error && <ErrorNote error={error} />}
        <p class="actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" kind={asked.isDanger === false ? "main" : "danger"} disabled={!isReady} busy={isBusy}>
            {asked.action}
          </Button>
        </p>
      </form>
    </Dialog>
  );
}
