// A password that is being made for somebody: typed, or made here at random.

import { useState } from "preact/hooks";
import { Button, Copy } from "../ui/button";
import { TextField } from "../ui/field";

const CHARACTERS_MIN = 12;

/** Without those that look alike. 32 of them: five bits each, so that no remainder is preferred. */
const ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789";

export function passwordError(password: string): string | null {
  return [...password].length < CHARACTERS_MIN ? `At least ${CHARACTERS_MIN} characters` : null;
}

/** 125 bits, in groups that can be read aloud. */
export function randomPassword(random: Uint8Array = crypto.getRandomValues(new Uint8Array(25))): string {
  const letters = Array.from(random, (byte) => ALPHABET[byte % ALPHABET.length]).join("");
  return letters.match(/.{5}/g)?.join("-") ?? letters;
}

interface Props {
  readonly label: string;
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly error: string | null;
  readonly hint: string;
}

export function NewPassword({ label, value, onInput, error, hint }: Props) {
  const [isShown, setShown] = useState(false);
  return (
    <div class="with-buttons">
      <TextField label={label} type={isShown ? "text" : "password"} value={value} onInput={onInput} error={error} hint={`${hint} At least ${CHARACTERS_MIN} characters.`} autocomplete="new-password" spellcheck={false} />
      <p class="actions">
        <Button
          onClick={() => {
            onInput(randomPassword());
            setShown(true);
          }}
        >
          Make one at random
        </Button>
        <Button kind="quiet" aria-pressed={isShown} onClick={() => setShown(!isShown)}>
          {isShown ? "Hide" : "Show"}
        </Button>
        {isShown && value !== "" && <Copy text={value} label="Copy the password" />}
      </p>
    </div>
  );
}
