// The pages: where they are, who sees them, what shows them. A page of a folder is one row here.

import type { FunctionComponent } from "preact";
import type { Permission } from "../api/types";
import { AdminPage } from "../admin/admin-page";
import { AuditPage } from "../audit/audit-page";
import { AuditEntryPage } from "../audit/entry-page";
import { KeyCreatePage } from "../keys/key-create-page";
import { KeyPage } from "../keys/key-page";
import { KeysPage } from "../keys/keys-page";
import { OverviewPage } from "../overview/overview-page";
import { UsagePage } from "../usage/usage-page";

export interface PageProps {
  /** What the path has in the places of `:name`. */
  readonly params: Readonly<Record<string, string>>;
}

export interface PageRow {
  readonly pattern: string;
  readonly needs: Permission;
  readonly page: FunctionComponent<PageProps>;
  /** The entry of the navigation that it belongs to. */
  readonly under: string;
  /** The text of that entry, in the page that is behind it. */
  readonly entry?: string;
}

export const PAGES: readonly PageRow[] = [
  { pattern: "/", needs: "usage.read", page: OverviewPage, under: "/", entry: "Overview" },
  { pattern: "/keys", needs: "keys.read", page: KeysPage, under: "/keys", entry: "Keys" },
  { pattern: "/keys/new", needs: "keys.create", page: KeyCreatePage, under: "/keys" },
  { pattern: "/keys/:id", needs: "keys.read", page: KeyPage, under: "/keys" },
  { pattern: "/usage", needs: "usage.read", page: UsagePage, under: "/usage", entry: "Usage" },
  { pattern: "/audit", needs: "audit.read", page: AuditPage, under: "/audit", entry: "Audit" },
  { pattern: "/audit/:seq", needs: "audit.read", page: AuditEntryPage, under: "/audit" },
  { pattern: "/admin", needs: "projects.read", page: AdminPage, under: "/admin", entry: "Admin" },
  { pattern: "/admin/:section", needs: "projects.read", page: AdminPage, under: "/admin" },
  { pattern: "/admin/:section/:id", needs: "projects.read", page: AdminPage, under: "/admin" },
];
