// Short notes on what was done. They are read aloud, and stay long enough to be read.

import { signal } from "@preact/signals";

interface Note {
  readonly id: number;
  readonly text: string;
  readonly kind: "done" | "error";
}

const notes = signal<readonly Note[]>([]);
let last = 0;

const remove = (id: number): void => {
  notes.value = notes.value.filter((note) => note.id !== id);
};

export function toast(text: string, kind: Note["kind"] = "done"): void {
  const id = ++last;
  notes.value = [...notes.value.slice(-3), { id, text, kind }];
  setTimeout(() => remove(id), kind === "error" ? 12_000 : 6_000);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {notes.value.map((note) => (
        <p key={note.id} class={`toast ${note.kind}`}>
          <span>{note.text}</span>
          <button type="button" class="close" aria-label="Close this note" onClick={() => remove(note.id)}>
            ×
          </button>
        </p>
      ))}
    </div>
  );
}
