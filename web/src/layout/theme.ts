// Light, dark, or as the system has it.

import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "till.theme";
const kept = localStorage.getItem(KEY);

export const theme = signal<Theme>(kept === "light" || kept === "dark" ? kept : "system");

theme.subscribe((now) => {
  if (now === "system") {
    localStorage.removeItem(KEY);
    delete document.documentElement.dataset["theme"];
  } else {
    localStorage.setItem(KEY, now);
    document.documentElement.dataset["theme"] = now;
  }
});
