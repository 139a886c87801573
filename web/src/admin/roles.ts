// Who may hand out what: nobody a role above their own, and who is bound to a project nothing outside of it.

import type { Role, Self } from "../api/types";

/** The most powerful first. */
export const ROLES: readonly { readonly value: Role; readonly meaning: string }[] = [
  { value: "owner", meaning: "everything, in particular master keys and other owners" },
  { value: "admin", meaning: "administers keys, projects, members, tokens and credentials" },
  { value: "minter", meaning: "makes keys within the rules, and changes those that it made" },
  { value: "auditor", meaning: "reads everything but secrets, the audit log included" },
  { value: "viewer", meaning: "sees keys, usage and totals" },
];

/** The order of power. */
const RANK: Readonly<Record<Role, number>> = { viewer: 0, auditor: 1, minter: 2, admin: 3, owner: 4 };

export const rolesUpTo = (own: Role): readonly Role[] => ROLES.map((role) => role.value).filter((role) => RANK[role] <= RANK[own]);

export function mayAdminister(who: Pick<Self, "role" | "project">, what: { readonly role: Role; readonly project: string | null }): boolean {
  return RANK[what.role] <= RANK[who.role] && (who.project === null || who.project === what.project);
}
