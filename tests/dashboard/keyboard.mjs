// Somebody who has no mouse. Every step presses keys only, and looks after each of them where the focus is: whether it is seen,
// whole, not behind something, and inside of the dialog that is open. What is wrong with it fails the step.

import { fileOf } from "./steps.mjs";

const page = (visit) => visit.page;

/** More than any page here has of things that take the focus. */
const TABS_MAX = 150;

/** What is wrong with the focus as it is; nothing, if it is all right. Runs in the page. */
const LOOK = () => {
  const element = document.activeElement;
  if (element === null || element === document.body) return { isLost: true, text: "the focus is nowhere" };
  const text = `${element.tagName.toLowerCase()} ${(element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent).trim().slice(0, 60)}`;
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (dialog && !dialog.contains(element)) return { text, wrong: "is outside of the dialog" };
  const style = getComputedStyle(element);
  const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
  if (width < 2) return { text, wrong: `has an outline of ${width}px` };
  // Where the outline is drawn has to be inside of everything that clips.
  const out = Math.max(0, parseFloat(style.outlineOffset) + width);
  const box = element.getBoundingClientRect();
  const ring = { left: box.left - out, top: box.top - out, right: box.right + out, bottom: box.bottom + out };
  const clips = [{ name: "the window", left: 0, top: 0, right: innerWidth, bottom: innerHeight }];
  for (let around = element.parentElement; around !== null && around !== document.body; around = around.parentElement) {
    const { overflowX, overflowY } = getComputedStyle(around);
    if (overflowX === "visible" && overflowY === "visible") continue;
    const { left, top } = around.getBoundingClientRect();
    clips.push({ name: around.className || around.tagName, left: left + around.clientLeft, top: top + around.clientTop, right: left + around.clientLeft + around.clientWidth, bottom: top + around.clientTop + around.clientHeight });
  }
  for (const clip of clips) {
    // What is larger than that can't be inside as a whole; one edge of it is enough to see.
    const isWide = ring.right - ring.left > clip.right - clip.left;
    const isTall = ring.bottom - ring.top > clip.bottom - clip.top;
    const cut = [];
    if (!isWide && ring.left < clip.left - 1) cut.push("left");
    if (!isWide && ring.right > clip.right + 1) cut.push("right");
    if (!isTall && ring.top < clip.top - 1) cut.push("top");
    if (!isTall && ring.bottom > clip.bottom + 1) cut.push("bottom");
    if (cut.length > 0) return { text, cut: `has an outline that ${clip.name} cuts off: ${cut.join(", ")} (${JSON.stringify(ring)} in ${JSON.stringify(clip)})` };
  }
  const points = [0.1, 0.5, 0.9].flatMap((x) => [0.2, 0.5, 0.8].map((y) => [box.left + box.width * x, box.top + box.height * y]));
  const inside = points.filter(([x, y]) => x >= 0 && y >= 0 && x < innerWidth && y < innerHeight);
  // Notes of what was done pass by themselves.
  const isSeen = ([x, y]) => {
    const hit = document.elementsFromPoint(x, y).find((one) => one.closest(".toasts") === null || element.closest(".toasts") !== null);
    return hit !== undefined && (element.contains(hit) || hit.contains(element) || [...(element.labels ?? [])].some((label) => label.contains(hit)));
  };
  if (inside.length > 0 && !inside.some(isSeen)) return { text, wrong: "is behind something else" };
  return { text };
};

async function look(visit) {
  const seen = await page(visit).evaluate(LOOK);
  const wrong = seen.wrong ?? seen.cut;
  if (wrong) throw new Error(`${seen.text} has the focus and ${wrong}`);
  return seen;
}

/** What is meant: by its label, or by its role and its name. */
function wanted(visit, { label, role, name, within = "body" }) {
  const around = page(visit).locator(within);
  return label === undefined ? around.getByRole(role, { name, exact: true }) : around.getByLabel(label, { exact: true });
}

const hasFocus = (target) => target.evaluateAll((found) => found.includes(document.activeElement));

/** Presses Tab until it has the focus; what is `far` is not in the page before it is near. */
export async function tabTo(visit, { back = false, far = false, ...what }) {
  const target = wanted(visit, what);
  if (!far) await target.first().waitFor();
  const passed = [];
  for (let tabs = 0; tabs < TABS_MAX; tabs += 1) {
    if (await hasFocus(target)) return passed;
    await page(visit).keyboard.press(back ? "Shift+Tab" : "Tab");
    // Behind the last thing is the browser itself, and then the first.
    const { isLost, text } = await look(visit);
    passed.push(isLost ? "(the browser)" : text);
  }
  throw new Error(`${JSON.stringify(what)} is not reached by Tab, but: ${passed.join(" | ")}`);
}

/** Goes there and presses a key on it. */
export async function use(visit, { key = "Enter", ...what }) {
  await tabTo(visit, what);
  await page(visit).keyboard.press(key);
}

/** Goes there and types, in the place of what there was. */
export async function write(visit, { text, ...what }) {
  await tabTo(visit, what);
  await page(visit).keyboard.press("Control+a");
  await page(visit).keyboard.press("Delete");
  if (text) await page(visit).keyboard.type(text);
  await look(visit);
}

/** Types as it is, into what has the focus. */
export const type = (visit, { text }) => page(visit).keyboard.type(text);

/** Chooses in a list by its first letters. */
export async function choose(visit, { text, ...what }) {
  await tabTo(visit, what);
  await page(visit).keyboard.type(text);
  await look(visit);
}

/** Waits until this has the focus, as it should by itself. */
export async function focusIs(visit, what) {
  const target = wanted(visit, what);
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    if (await hasFocus(target)) return void (await look(visit));
    await page(visit).evaluate(() => new Promise((done) => requestAnimationFrame(done)));
  }
  const { text } = await page(visit).evaluate(LOOK);
  throw new Error(`${text} has the focus in the place of ${JSON.stringify(what)}`);
}

/** What has the focus; it has to be something. Where the page grew meanwhile it may be partly below the window. */
export async function focus(visit) {
  const { isLost, text, wrong } = await page(visit).evaluate(LOOK);
  if (isLost || wrong) throw new Error(`${text} ${wrong ?? ""}`);
  return text;
}

/** Everything that Tab comes by in the dialog, until it is where it began. */
export async function round(visit, { back = false } = {}) {
  const first = await page(visit).evaluateHandle(() => document.activeElement);
  const passed = [];
  for (let tabs = 0; tabs < TABS_MAX; tabs += 1) {
    await page(visit).keyboard.press(back ? "Shift+Tab" : "Tab");
    const { isLost, text } = await look(visit);
    if (!isLost) passed.push(text);
    if (await first.evaluate((element) => element === document.activeElement)) return passed;
  }
  throw new Error(`Tab never comes back: ${passed.join(" | ")}`);
}

/** Waits until no dialog is open, or one is. */
export async function dialogIs(visit, { open }) {
  await page(visit).waitForFunction((is) => (document.querySelector("dialog[open]") !== null) === is, open);
}

/** Presses these keys. */
export async function keys(visit, { press }) {
  for (const key of press) {
    await page(visit).keyboard.press(key);
    await look(visit);
  }
}

/** Presses a key many times without a look in between: each look counts as something that the person did. */
export async function hammer(visit, { key, times }) {
  for (let count = 0; count < times; count += 1) await page(visit).keyboard.press(key);
}

/** Presses a key that makes the browser keep a file; answers the file. */
export async function download(visit, { key }) {
  const file = page(visit).waitForEvent("download");
  await page(visit).keyboard.press(key);
  return fileOf(await file);
}

/** From the top of the page through everything that Tab comes by; everything that is wrong at once. */
export async function tabThrough(visit) {
  const wrong = [];
  let first;
  for (let tabs = 0; tabs < TABS_MAX; tabs += 1) {
    await page(visit).keyboard.press("Tab");
    const seen = await page(visit).evaluate(LOOK);
    if (seen.isLost || (await first?.evaluate((element) => element === document.activeElement))) break;
    first ??= await page(visit).evaluateHandle(() => document.activeElement);
    if (seen.wrong ?? seen.cut) wrong.push(`${seen.text} ${seen.wrong ?? seen.cut}`);
  }
  if (wrong.length > 0) throw new Error(wrong.join("; "));
}
