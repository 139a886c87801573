// Keeps the focus in the page. A browser drops it to the body when what has it goes away: a row, a button that is not offered
// any more or has nothing to do now, a link in a menu that closed. Whoever uses the keyboard would start at the top again.
//
// Invariant: where the focus was lost and not given up, it goes to the next thing behind it, in the smallest part of the page
// that is still there, and never out of an open dialog.

const FOCUSABLE = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), summary, [tabindex]";

/** Where something stood: what it was in, from the inside out, and in which place of that. */
interface Spot {
  readonly element: Element;
  readonly around: readonly { readonly parent: Element; readonly index: number }[];
}

function spotOf(element: Element): Spot {
  const around: { parent: Element; index: number }[] = [];
  for (let [at, parent] = [element, element.parentElement]; parent !== null && parent !== document.body; [at, parent] = [parent, parent.parentElement]) {
    around.push({ parent, index: [...parent.children].indexOf(at) });
  }
  return { element, around };
}

const takesFocus = (element: Element): boolean => element.isConnected && element.matches(FOCUSABLE) && element.checkVisibility();

/** The first thing in it that takes the focus, itself included. */
function firstIn(element: Element): Element | null {
  if (takesFocus(element)) return element;
  for (const one of element.querySelectorAll(FOCUSABLE)) if (takesFocus(one)) return one;
  return null;
}

function nearest({ around }: Spot): Element | null {
  for (const { parent, index } of around) {
    if (!parent.isConnected || !parent.checkVisibility()) continue;
    if (takesFocus(parent)) return parent;
    const children = [...parent.children];
    for (const child of [...children.slice(index), ...children.slice(0, index).reverse()]) {
      const found = firstIn(child);
      if (found !== null) return found;
    }
    // Behind the page come notes, before it the navigation: neither is where somebody was.
    if (parent.id === "main") break;
  }
  return document.querySelector("h1");
}

let last: Spot | null = null;
/** The same, outside of dialogs: where they were opened from. */
let lastBehind: Spot | null = null;

function keep(): void {
  if (last === null || takesFocus(last.element)) return;
  const active = document.activeElement;
  if (active !== null && active !== document.body && takesFocus(active)) return;
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  const isInside = last.element.closest("dialog") !== null || last.around.some(({ parent }) => parent.tagName === "DIALOG");
  const found = dialog && !isInside ? firstIn(dialog) : isInside && !dialog ? lastBehind && (takesFocus(lastBehind.element) ? lastBehind.element : nearest(lastBehind)) : nearest(last);
  if (!(found instanceof HTMLElement)) return;
  const { top, bottom } = found.getBoundingClientRect();
  // What is seen already must not make the page jump: somebody may be scrolling.
  found.focus({ preventScroll: bottom > 0 && top < innerHeight });
}

export function keepFocus(root: Element): void {
  let isByKey = false;
  addEventListener("focusin", ({ target }) => {
    if (!(target instanceof Element) || target === document.body) return;
    last = spotOf(target);
    if (target.closest("dialog") === null) lastBehind = last;
    // Of a field for text the browser shows the caret only, and the rest may be below the window.
    if (isByKey) target.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  addEventListener("keydown", () => (isByKey = true), true);
  // Who presses beside everything gives the focus up.
  addEventListener(
    "pointerdown",
    () => {
      isByKey = false;
      last = null;
    },
    true,
  );
  new MutationObserver(keep).observe(root, { subtree: true, childList: true, attributes: true, attributeFilter: ["class", "disabled", "open"] });
}
