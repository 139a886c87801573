import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { toast } from "./toast";

interface ButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "type" | "disabled" | "role"> {
  readonly kind?: "plain" | "main" | "danger" | "quiet";
  readonly type?: "button" | "submit";
  readonly disabled?: boolean | undefined;
  readonly busy?: boolean;
  readonly children: ComponentChildren;
}

export function Button({ kind = "plain", type = "button", busy = false, disabled, onClick, children, ...rest }: ButtonProps) {
  // A button that is disabled loses the focus: one that is busy keeps it and does nothing.
  const press = busy ? (event: Event) => event.preventDefault() : onClick;
  return (
    <button type={type} class={`button ${kind}`} disabled={disabled} aria-disabled={busy || undefined} aria-busy={busy} onClick={press} {...rest}>
      {children}
    </button>
  );
}

/** Copies a text; where the browser does not let it, says so. */
export function Copy({ text, label = "Copy" }: { readonly text: string; readonly label?: string }) {
  const [isDone, setDone] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setDone(false), 2000);
    } catch {
      toast("The browser did not let the page copy it; select the text and copy it by hand.", "error");
    }
  };
  return (
    <Button kind="quiet" onClick={() => void copy()} aria-label={isDone ? "Copied" : label}>
      {isDone ? "Copied" : "Copy"}
    </Button>
  );
}
