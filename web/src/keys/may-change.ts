import type { Key } from "../api/types";
import { may, self } from "../session";

/** Whether they may change this key: a minter those that it made. Somebody else's token may stand for the same member, so this errs on the side of offering. */
export function mayChange(key: Key): boolean {
  const who = self.value;
  if (who === null || !may("keys.write")) return false;
  return who.role !== "minter" || key.createdBy === who.id || key.createdBy?.startsWith("mem_") === true;
}
