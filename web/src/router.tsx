// A page per path below /dashboard. Paths and queries are those of the address bar, so that every view can be linked.

import { signal } from "@preact/signals";
import type { AnchorHTMLAttributes, ComponentChildren } from "preact";

export const BASE = "/dashboard";

export interface Place {
  readonly path: string;
  readonly query: URLSearchParams;
}

function read(): Place {
  const inside = location.pathname.startsWith(`${BASE}/`) ? location.pathname.slice(BASE.length) : "/";
  return { path: inside, query: new URLSearchParams(location.search) };
}

/** Where the person is. */
export const place = signal<Place>(read());

addEventListener("popstate", () => {
  place.value = read();
});

export function navigate(to: string, replace = false): void {
  if (replace) history.replaceState(null, "", BASE + to);
  else history.pushState(null, "", BASE + to);
  place.value = read();
}

/** Changes the query and stays on the page; what is empty goes. */
export function setQuery(changes: Readonly<Record<string, string | null | undefined>>): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  navigate(place.value.path + (text ? `?${text}` : ""), true);
}

interface LinkProps extends Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "href" | "role"> {
  readonly to: string;
  readonly children?: ComponentChildren;
}

export function Link({ to, children, ...rest }: LinkProps) {
  const go = (event: MouseEvent) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(to);
  };
  return (
    <a href={BASE + to} onClick={go} {...rest}>
      {children}
    </a>
  );
}
