// The frame of a page: its title, which gets the focus when somebody comes here, and what can be done on it.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { cut } from "./text";

interface PageProps {
  readonly title: string;
  /** In the place of the title, where it is more than a text. */
  readonly heading?: ComponentChildren;
  readonly actions?: ComponentChildren;
  readonly children: ComponentChildren;
}

/** The first page of a visit does not take the focus: the browser starts at the top, where the skip link is. */
let isFirst = true;

/** Somebody was elsewhere before, such as on the page for signing in. */
export function notFirst(): void {
  isFirst = false;
}

export function Page({ title, heading, actions, children }: PageProps) {
  const element = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!isFirst) element.current?.focus({ preventScroll: true });
    isFirst = false;
    scrollTo(0, 0);
  }, []);
  useEffect(() => {
    document.title = `${cut(title, 80)} – till`;
  }, [title]);
  return (
    <>
      <header class="page-head">
        <h1 ref={element} tabIndex={-1}>
          {heading ?? title}
        </h1>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Panel({ title, actions, children, id }: { readonly title: string; readonly actions?: ComponentChildren; readonly children: ComponentChildren; readonly id?: string }) {
  return (
    <section class="panel" aria-label={title} id={id}>
      <header>
        <h2>{title}</h2>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}
