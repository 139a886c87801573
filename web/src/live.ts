// Live updates: one stream of server-sent events per visible tab says which topics changed; pages load again what they show.

import { type Signal, signal } from "@preact/signals";
import { self, session, start } from "./session";

export const TOPICS = ["usage", "keys", "audit", "admin", "kill_switch"] as const;
export type Topic = (typeof TOPICS)[number];

/** Counts the changes of each topic. */
export const changes: Readonly<Record<Topic, Signal<number>>> = {
  usage: signal(0),
  keys: signal(0),
  audit: signal(0),
  admin: signal(0),
  kill_switch: signal(0),
};

export type Connection = "off" | "connecting" | "live" | "lost";
export const connection = signal<Connection>("off");

let source: EventSource | null = null;
let retry: ReturnType<typeof setTimeout> | undefined;
let wait = 1000;

export function changed(topics: readonly string[]): void {
  for (const topic of TOPICS) if (topics.includes(topic)) changes[topic].value += 1;
}

function topicsOf(data: string): readonly string[] {
  try {
    const { topics } = JSON.parse(data) as { topics?: unknown };
    return Array.isArray(topics) ? topics.filter((topic): topic is string => typeof topic === "string") : [];
  } catch {
    return [];
  }
}

function open(): void {
  if (source !== null || document.hidden || self.peek() === null) return;
  clearTimeout(retry);
  connection.value = "connecting";
  const opened = new EventSource("/admin/events");
  source = opened;
  opened.addEventListener("open", () => {
    wait = 1000;
    connection.value = "live";
    // What happened while nobody listened.
    changed(TOPICS);
  });
  opened.addEventListener("changed", (event: MessageEvent<string>) => changed(topicsOf(event.data)));
  opened.addEventListener("error", () => {
    connection.value = "lost";
    if (opened.readyState !== EventSource.CLOSED) return;
    // The server refused it: the session may be over, or there are too many listeners.
    shut();
    connection.value = "lost";
    retry = setTimeout(() => void start().then(open), wait);
    wait = Math.min(wait * 2, 30_000);
  });
}

function shut(): void {
  clearTimeout(retry);
  source?.close();
  source = null;
  connection.value = "off";
}

// A browser has few connections per server: a tab that nobody looks at holds none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) shut();
  else open();
});

addEventListener("pagehide", shut);
addEventListener("pageshow", open);

session.subscribe((now) => {
  if (now.state === "in") open();
  else shut();
});
