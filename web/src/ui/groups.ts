// What sums over calls are told apart by, and what the groups are called.

import type { UsageGroup, UsageSum } from "../api/types";

export const GROUPS: readonly { readonly value: UsageGroup; readonly label: string }[] = [
  { value: "provider", label: "Provider" },
  { value: "model", label: "Model" },
  { value: "project", label: "Project" },
  { value: "key", label: "Key" },
];

/** What the groups of a chart are called. */
export function labelOf(group: UsageGroup, names: ReadonlyMap<string, string>): (sum: UsageSum) => string {
  return (sum) => {
    switch (group) {
      case "provider":
        return sum.provider || "unknown";
      case "model":
        return sum.model || "not known";
      case "endpoint":
        return sum.endpoint || "not known";
      case "project":
        return sum.project || "unknown";
      case "key":
        return sum.keyId === null ? "unknown" : (names.get(sum.keyId) ?? sum.keyId);
    }
  };
}
