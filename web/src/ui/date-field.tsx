import { useState } from "preact/hooks";
import { Field } from "./field";

interface DateFieldProps {
  readonly label: string;
  readonly type: "date" | "datetime-local";
  readonly value: string;
  /** Gets a whole date, or nothing where somebody emptied it. */
  readonly onDone: (value: string) => void;
}

/** While somebody types the year 2026 it is the year 2, 20 and 202 first: nothing here is as old as that. */
const isTyped = (value: string): boolean => value === "" || value >= "1970";

/** A date that can be typed: what is there half does not count, and is not put back by what the page shows meanwhile. */
export function DateField({ label, type, value, onDone }: DateFieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const input = (text: string) => {
    setTyped(text);
    if (isTyped(text)) onDone(text);
  };
  return (
    <Field label={label}>
      {(props) => <input {...props} type={type} value={typed ?? value} onInput={(event) => input(event.currentTarget.value)} onBlur={() => setTyped(null)} />}
    </Field>
  );
}
