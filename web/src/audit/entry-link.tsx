// Where entries and what they are about lead to.

import type { AuditEntry } from "../api/types";
import { Link } from "../router";
import { may } from "../session";
import { cut, Name } from "../ui/text";
import { entryPath } from "./entry-path";

/** The action of an entry, as the link to it. */
export function ActionLink({ of }: { readonly of: AuditEntry }) {
  return (
    <Link to={entryPath(of.seq)}>
      <code>{cut(of.action, 60)}</code>
    </Link>
  );
}

function pageOf(id: string): string | null {
  if (id.startsWith("key_")) return `/keys/${encodeURIComponent(id)}`;
  if (id.startsWith("mem_") && may("members.read")) return `/admin/members/${encodeURIComponent(id)}`;
  if ((id.startsWith("tok_") || id === "owner") && may("tokens.read")) return `/admin/tokens/${encodeURIComponent(id)}`;
  return null;
}

/** What an entry is about. */
export function Target({ text }: { readonly text: string }) {
  const name = <Name text={text} />;
  const page = pageOf(text);
  return (
    <>
      {page === null ? name : <Link to={page}>{name}</Link>}{" "}
      <small>
        <Link to={`/audit?target=${encodeURIComponent(text)}`}>All entries about it</Link>
      </small>
    </>
  );
}
