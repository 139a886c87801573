import { call } from "../api/client";
import type { KeyList } from "../api/types";
import { counted } from "../format/number";

/** How many keys of these are neither revoked nor expired, in words: more than a page is not counted. */
export async function liveKeys(of: { readonly project?: string; readonly upstream?: string }): Promise<string> {
  const answer = await call<KeyList>("GET", "/admin/keys", { query: { ...of, limit: 1000 } }).catch(() => null);
  if (answer === null) return "every live key";
  const live = answer.keys.filter((key) => key.status !== "revoked" && key.status !== "expired").length;
  return answer.nextCursor ? `${counted(live, "live key")} or more` : counted(live, "live key");
}
