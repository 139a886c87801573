import type { Key } from "../api/types";
import { Link } from "../router";
import { Name } from "../ui/text";
import { nameOf } from "./name";

/** The page of a key. */
export const keyPath = (id: string): string => `/keys/${encodeURIComponent(id)}`;

export function KeyLink({ of }: { readonly of: Key }) {
  const name = nameOf(of);
  return (
    <Link to={keyPath(of.id)} class="key-link">
      {name === null ? <code>{of.id}</code> : <Name text={name} max={80} />}
    </Link>
  );
}
