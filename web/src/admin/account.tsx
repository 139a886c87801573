// Who is signed in, what they may do, and their password.

import { useState } from "preact/hooks";
import { type ApiError, call } from "../api/client";
import { asApiError } from "../load";
import { self, start } from "../session";
import { Button } from "../ui/button";
import { TextField } from "../ui/field";
import { Panel } from "../ui/page";
import { ErrorNote } from "../ui/state";
import { Code, Name } from "../ui/text";
import { toast } from "../ui/toast";
import { passwordError } from "./new-password";
import { ROLES } from "./roles";

export function Account() {
  const who = self.value;
  if (who === null) return null;
  return (
    <>
      <Panel title="You">
        <dl class="facts">
          <dt>Name</dt>
          <dd>
            <Name text={who.name} />
          </dd>
          <dt>Id</dt>
          <dd>
            <Code>{who.id}</Code>
          </dd>
          <dt>Role</dt>
          <dd>
            {who.role}: {ROLES.find((role) => role.value === who.role)?.meaning}
          </dd>
          <dt>Project</dt>
          <dd>{who.project ?? "everywhere"}</dd>
          <dt>You may</dt>
          <dd>{who.permissions.join(", ")}</dd>
        </dl>
      </Panel>
      {who.id.startsWith("mem_") ? (
        <PasswordPanel />
      ) : (
        <Panel title="Password">
          <p class="muted">You are signed in with an admin token, which has no password. Who signs in every day should be a member with a password of their own.</p>
        </Panel>
      )}
    </>
  );
}

function PasswordPanel() {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [again, setAgain] = useState("");
  const [isTried, setTried] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const nextError = passwordError(next);
  const againError = next === again ? null : "This is not the same";
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setTried(true);
    if (nextError || againError || isBusy) return;
    setBusy(true);
    setError(null);
    try {
      await call("POST", "/admin/self/password", { body: { current_password: current, password: next } });
      toast("Your password is changed. All of your sessions have ended; sign in with the new one.");
      await start();
    } catch (caught) {
      setError(asApiError(caught));
    }
    setBusy(false);
  };
  return (
    <Panel title="Change your password">
      <form class="narrow" onSubmit={(event) => void submit(event)}>
        <TextField label="Password so far" type="password" value={current} onInput={setCurrent} required autocomplete="current-password" />
        <TextField label="New password" type="password" value={next} onInput={setNext} required autocomplete="new-password" error={isTried ? nextError : null} hint="At least 12 characters. All of your sessions end, this one too." />
        <TextField label="The new one again" type="password" value={again} onInput={setAgain} required autocomplete="new-password" error={isTried ? againError : null} />
        {error && <ErrorNote error={error} />}
        <Button type="submit" kind="main" busy={isBusy}>
          Change it
        </Button>
      </form>
    </Panel>
  );
}
