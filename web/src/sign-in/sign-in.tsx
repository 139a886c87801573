// Signing in with the password of a member, or with an admin token.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import { asApiError } from "../load";
import { signIn } from "../session";
import { Button } from "../ui/button";
import { Segments, TextField } from "../ui/field";
import { notFirst } from "../ui/page";
import { ErrorNote } from "../ui/state";

export function SignIn({ why }: { readonly why: string | null }) {
  const [way, setWay] = useState("member");
  const [login, setLogin] = useState("");
  const [secret, setSecret] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    document.title = "Sign in – till";
    form.current?.querySelector("input")?.focus();
    notFirst();
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setError(null);
    try {
      await signIn(way === "member" ? { login: login.trim(), password: secret } : { admin_token: secret.trim() });
    } catch (caught) {
      setError(asApiError(caught));
      setBusy(false);
    }
  };
  const change = (to: string) => {
    setWay(to);
    setSecret("");
    setError(null);
  };
  return (
    <main class="sign-in" id="main">
      <h1>till</h1>
      {why !== null && (
        <p class="note" role="status">
          {why}
        </p>
      )}
      <form ref={form} onSubmit={(event) => void submit(event)}>
        <Segments
          label="How to sign in"
          value={way}
          onChange={change}
          choices={[
            { value: "member", label: "Password" },
            { value: "token", label: "Admin token" },
          ]}
        />
        {way === "member" ? (
          <>
            <TextField label="Login" value={login} onInput={setLogin} autocomplete="username" required />
            <TextField label="Password" type="password" value={secret} onInput={setSecret} autocomplete="current-password" required />
          </>
        ) : (
          <TextField
            label="Admin token"
            type="password"
            value={secret}
            onInput={setSecret}
            autocomplete="off"
            required
            hint={
              <>
                <code>till_admin_…</code>, as the first start printed it or <code>till tokens create</code> made it.
              </>
            }
          />
        )}
        {error && <ErrorNote error={error} />}
        <Button type="submit" kind="main" busy={isBusy}>
          Sign in
        </Button>
      </form>
    </main>
  );
}
