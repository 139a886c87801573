// What stands around one thing that is administered.

import type { ComponentChildren } from "preact";
import { Link } from "../router";
import { may } from "../session";
import { Time } from "../ui/text";

interface Props {
  readonly back: { readonly to: string; readonly text: string };
  readonly name: ComponentChildren;
  readonly actions?: ComponentChildren;
  readonly children: ComponentChildren;
}

export function Detail({ back, name, actions, children }: Props) {
  return (
    <>
      <p class="back">
        <Link to={back.to}>← {back.text}</Link>
      </p>
      <header class="page-head">
        <h2 class="detail-name">{name}</h2>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

interface Versioned {
  readonly version: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** When it was made and changed, and where that stands in the log. */
export function Version({ of, target }: { readonly of: Versioned; readonly target: string }) {
  return (
    <>
      <dt>Made</dt>
      <dd>
        {Date.parse(of.createdAt) === 0 ? "with the instance" : <Time at={of.createdAt} />}
      </dd>
      <dt>Last changed</dt>
      <dd>
        {Date.parse(of.updatedAt) === 0 ? "never" : <Time at={of.updatedAt} />} <small>version {of.version}</small>
        {may("audit.read") && (
          <>
            {" "}
            <small>
              <Link to={`/audit?target=${encodeURIComponent(target)}`}>Who changed what</Link>
            </small>
          </>
        )}
      </dd>
    </>
  );
}
