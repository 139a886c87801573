import { useState } from "preact/hooks";
import { TextField } from "./field";

interface TypedFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onDone: (value: string) => void;
  readonly placeholder: string;
}

/** A filter that counts once somebody is done with it, not at each letter. */
export function TypedField({ label, value, onDone, placeholder }: TypedFieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const done = () => {
    if (typed !== null && typed.trim() !== value) onDone(typed.trim());
    setTyped(null);
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        done();
      }}
      onFocusOut={done}
    >
      <TextField label={label} value={typed ?? value} onInput={setTyped} placeholder={placeholder} spellcheck={false} autocomplete="off" />
    </form>
  );
}
