// Who is signed in, and what they may do.

import { computed, signal } from "@preact/signals";
import { ApiError, call, whenSessionEnds, word } from "./api/client";
import type { LoginAnswer, Permission, Self } from "./api/types";

export type Session =
  | { readonly state: "unknown" }
  | { readonly state: "unreachable"; readonly error: ApiError }
  | { readonly state: "out"; readonly why: string | null }
  | { readonly state: "in"; readonly self: Self };

export const session = signal<Session>({ state: "unknown" });

export const self = computed(() => (session.value.state === "in" ? session.value.self : null));

/** Whether they may do this: what they may not is not offered. */
export function may(permission: Permission): boolean {
  return self.value?.permissions.includes(permission) ?? false;
}

let timer: ReturnType<typeof setTimeout> | undefined;

function ended(why: string | null): void {
  clearTimeout(timer);
  word.forget();
  session.value = { state: "out", why };
}

const OVER = "Your session has ended. Sign in to go on where you were.";

whenSessionEnds(() => {
  if (session.value.state === "in") ended(OVER);
});

/** Finds out who is signed in. */
export async function start(): Promise<void> {
  const known = word.read();
  if (known === null) {
    ended(session.value.state === "in" ? OVER : null);
    return;
  }
  try {
    const { self: who } = await call<{ self: Self }>("GET", "/admin/self");
    if (who.id !== known.subject) return ended(null);
    session.value = { state: "in", self: who };
    clearTimeout(timer);
    timer = setTimeout(() => ended(OVER), Date.parse(known.expiresAt) - Date.now());
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return ended(OVER);
    const shown = error instanceof ApiError ? error : new ApiError(0, "unknown", String(error));
    // Somebody who is in the middle of something stays there.
    if (session.value.state !== "in") session.value = { state: "unreachable", error: shown };
  }
}

word.watch(() => void start());

export type Credentials = { readonly login: string; readonly password: string } | { readonly admin_token: string };

export async function signIn(credentials: Credentials): Promise<void> {
  const answer = await call<LoginAnswer>("POST", "/admin/login", { body: credentials });
  word.keep({ csrf: answer.csrfToken, subject: answer.id, expiresAt: answer.expiresAt });
  await start();
}

export async function signOut(): Promise<void> {
  try {
    await call<void>("POST", "/admin/logout");
  } catch (error) {
    // Over already is as good.
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
  }
  ended("You are signed out.");
}
