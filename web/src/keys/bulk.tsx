// Pausing and revoking many keys: asked once, then done a few at a time. What failed is said.

import { call, path } from "../api/client";
import type { Key } from "../api/types";
import { counted, whole } from "../format/number";
import { asApiError } from "../load";
import { ask } from "../ui/dialog";
import { Name } from "../ui/text";
import { toast } from "../ui/toast";
import { called } from "./name";

interface Change {
  readonly verb: string;
  readonly done: string;
  readonly what: string;
  readonly isDanger: boolean;
  readonly reason?: string;
  readonly one: (key: Key, reason: string) => Promise<unknown>;
}

const update = (key: Key, body: Readonly<Record<string, unknown>>): Promise<unknown> => call("PATCH", path`/admin/keys/${key.id}`, { body });

export const PAUSE: Change = {
  verb: "Pause",
  done: "paused",
  what: "Their calls are refused and their streams are cut at once, until somebody resumes them. What they have used stays as it is.",
  isDanger: true,
  reason: "Why they are paused",
  one: (key, reason) => update(key, { paused: true, ...(reason && { paused_reason: reason }) }),
};

export const RESUME: Change = {
  verb: "Resume",
  done: "resumed",
  what: "They work again with what is left of their limits.",
  isDanger: false,
  one: (key) => update(key, { paused: false }),
};

export const REVOKE: Change = {
  verb: "Revoke",
  done: "revoked",
  what: "Their calls are refused and their streams are cut at once. A revoked key never comes back; whoever uses it needs another one.",
  isDanger: true,
  one: (key) => call("DELETE", path`/admin/keys/${key.id}`),
};

/** Keys that are changed at the same time. */
const AT_ONCE = 4;

/** More than so many have to be typed. */
const TYPED_FROM = 20;

/** Keys that are named in the question. */
const NAMED = 5;

export function changeMany(change: Change, keys: readonly Key[], onDone: () => void): void {
  const count = counted(keys.length, "key");
  ask({
    title: `${change.verb} ${count}?`,
    text: (
      <>
        <p>{change.what}</p>
        <ul>
          {keys.slice(0, NAMED).map((key) => (
            <li key={key.id}>
              <Name text={called(key)} max={60} />
            </li>
          ))}
          {keys.length > NAMED && <li>and {whole(keys.length - NAMED)} more</li>}
        </ul>
      </>
    ),
    action: `${change.verb} ${count}`,
    isDanger: change.isDanger,
    ...(change === REVOKE && keys.length >= TYPED_FROM && { typed: "revoke" }),
    ...(change.reason !== undefined && { reason: change.reason }),
    run: async (reason) => {
      const left = [...keys];
      const failed: string[] = [];
      const work = async (): Promise<void> => {
        for (let key = left.pop(); key !== undefined; key = left.pop()) {
          try {
            await change.one(key, reason);
          } catch (error) {
            failed.push(asApiError(error).message);
          }
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      onDone();
      const done = keys.length - failed.length;
      if (done > 0) toast(`${counted(done, "key")} ${change.done}.`);
      if (failed.length > 0) toast(`${counted(failed.length, "key")} could not be ${change.done}: ${failed[0] ?? ""}`, "error");
    },
  });
}

/** Revokes by the filter, after the server has said how many keys that are. */
export function askRevokeMatching(filter: Readonly<{ status: string; provider: string; project: string }>, onDone: () => void): void {
  const conditions = Object.fromEntries(
    (["status", "provider", "project"] as const).filter((name) => filter[name] !== "").map((name) => [name, filter[name]]),
  );
  const revoke = (isDry: boolean) =>
    call<{ ids: readonly string[] }>("POST", "/admin/keys/revoke", { body: { ...conditions, ...(isDry && { dry_run: true }) } });
  const go = async (): Promise<void> => {
    const { ids } = await revoke(true);
    if (ids.length === 0) return toast("There is no key to revoke among these.");
    ask({
      title: `Revoke all ${counted(ids.length, "key")} that match?`,
      text: (
        <>
          <p>
            {Object.entries(conditions)
              .map(([name, value]) => `${name}: ${value}`)
              .join(", ")}
          </p>
          <p>{REVOKE.what} Keys that come to match until then are revoked as well.</p>
        </>
      ),
      action: `Revoke ${counted(ids.length, "key")}`,
      typed: "revoke",
      run: async () => {
        const answer = await revoke(false);
        onDone();
        toast(`${counted(answer.ids.length, "key")} revoked.`);
      },
    });
  };
  void go().catch((error: unknown) => toast(asApiError(error).message, "error"));
}
