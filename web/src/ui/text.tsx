// Texts of strangers: names, metadata, models. Preact escapes them; `bdi` keeps marks that turn the direction inside; what
// is very long is cut, so that no row grows with it.

import type { ComponentChildren } from "preact";
import { now } from "../now";
import { local, relative, utc } from "../format/time";

const SHOWN_MAX = 200;

/** Characters that can't be seen but change what is: controls, marks of direction, zero-width ones. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export function cut(text: string, max = SHOWN_MAX): string {
  const clean = text.slice(0, max + 1).replace(UNSEEN, "\u00b7");
  return text.length > max ? `${clean.slice(0, max)}…` : clean;
}

/** A text of a stranger on one line. */
export function Name({ text, max }: { readonly text: string; readonly max?: number }) {
  const shown = cut(text, max);
  return (
    <bdi class="name" title={shown === text && text.length < 40 ? undefined : shown}>
      {shown}
    </bdi>
  );
}

/** An id or another word of a machine. */
export function Code({ children }: { readonly children: ComponentChildren }) {
  return <code class="code">{children}</code>;
}

/** A time in the zone of the browser; UTC where somebody hovers. */
export function Time({ at, seconds = false }: { readonly at: string; readonly seconds?: boolean }) {
  return (
    <time dateTime={at} title={utc(at)} class="number">
      {local(at, seconds)}
    </time>
  );
}

/** How long ago, or in how long; the time itself where somebody hovers. */
export function Ago({ at, none = "never" }: { readonly at: string | null; readonly none?: string }) {
  if (at === null) return <span class="muted">{none}</span>;
  return (
    <time dateTime={at} title={`${local(at, true)} (${utc(at)})`}>
      {relative(at, now.value)}
    </time>
  );
}
