// What somebody does at the dashboard, and what they see. Each waits for what it is about.

import { readFileSync } from "node:fs";

const page = (visit) => visit.page;
const dialog = (visit) => page(visit).locator("dialog[open]");

// Coming and going.

export async function signIn(visit, { token, login, password, path = "/" }) {
  await page(visit).goto(`${visit.url}/dashboard${path}`);
  await enter(visit, { token, login, password });
}

/** On the page for signing in. */
export async function enter(visit, { token, login, password }) {
  await tryToEnter(visit, { token, login, password });
  await page(visit).locator("header.head").waitFor();
  await visit.settled();
}

export async function tryToEnter(visit, { token, login, password }) {
  const form = page(visit).locator("main.sign-in form");
  await form.waitFor();
  await form.getByRole("button", { name: token ? "Admin token" : "Password", exact: true }).click();
  if (token) {
    await form.getByLabel("Admin token").last().fill(token);
  } else {
    await form.getByLabel("Login").fill(login);
    await form.getByLabel("Password").last().fill(password);
  }
  await form.getByRole("button", { name: "Sign in", exact: true }).click();
}

export const signOut = async (visit) => {
  await page(visit).getByRole("button", { name: "Sign out" }).click();
  await page(visit).locator("main.sign-in").waitFor();
};

/** Waits for the page for signing in; what it says about why. */
export async function signedOut(visit) {
  await page(visit).locator("main.sign-in").waitFor();
  const note = page(visit).locator("main.sign-in .note");
  return (await note.count()) > 0 ? note.innerText() : null;
}

/** What no script of the page can get at. */
export const cookies = async (visit) => Object.fromEntries((await visit.context.cookies(`${visit.url}/admin`)).map(({ name, value, httpOnly, sameSite }) => [name, { value, httpOnly, sameSite }]));
export const forgetCookies = (visit) => visit.context.clearCookies();

/** What a script of the page could get at. */
export const readable = (visit) => page(visit).evaluate(() => ({ cookie: document.cookie, local: { ...localStorage }, session: { ...sessionStorage } }));

export const go = (visit, { path }) => visit.go(path);
export const place = (visit) => page(visit).evaluate(() => location.pathname + location.search);
export const link = async (visit, { name, within = "body" }) => {
  await page(visit).locator(within).getByRole("link", { name, exact: true }).first().click();
  await visit.settled();
};
export const press = async (visit, { name, within = "body" }) => page(visit).locator(within).getByRole("button", { name, exact: true }).first().click();
export const fill = (visit, { label, value, within = "body" }) => page(visit).locator(within).getByLabel(label, { exact: true }).fill(value);
export const keyboard = (visit, { key }) => page(visit).keyboard.press(key);

/** Keeps answers to requests with this in their address from the page, until they are let go. */
export async function holdBack(visit, { asking }) {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  visit.letGo = open;
  await visit.context.route((url) => url.href.includes(asking), async (route) => {
    await opened;
    await route.continue();
  });
}
export const letGo = (visit) => visit.letGo();

/** A mark that is gone once the page is loaded anew. */
export const mark = (visit) => page(visit).evaluate(() => void (globalThis.tillMark = true));
export const isMarked = (visit) => page(visit).evaluate(() => globalThis.tillMark === true);

// Seeing.

/** Waits for a text to be seen. */
export const see = async (visit, { text, within = "body" }) => page(visit).locator(within).getByText(text).filter({ visible: true }).first().waitFor();
export const text = (visit, { of }) => page(visit).locator(of).first().innerText();
export const texts = (visit, { of }) => page(visit).locator(of).filter({ visible: true }).allInnerTexts();
export const count = (visit, { of }) => page(visit).locator(of).count();

/** Waits until there are so many. */
export async function counted(visit, { of, count: wanted }) {
  await page(visit).waitForFunction(([selector, number]) => document.querySelectorAll(selector).length === number, [of, wanted]);
}

/** Opens a page anew: milliseconds until the first thing is painted, and until nothing is loading any more; rows of tables. */
export async function painted(visit, { path }) {
  await visit.go(path);
  return page(visit).evaluate(() => ({
    first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? performance.now(),
    full: performance.now(),
    rows: document.querySelectorAll(".table-body .table-row").length,
  }));
}

/** Scrolls to the last row that is there. */
export const scrollToEnd = (visit, { of }) => page(visit).locator(of).evaluate((element) => (element.scrollTop = element.scrollHeight));

/** Turns the wheel over a long table until its end; how many rows it has, and how many of them were in the page at most. */
export async function wheelThrough(visit, { of }) {
  const table = page(visit).locator(of);
  await table.hover();
  await page(visit).evaluate(() => {
    let last = performance.now();
    globalThis.tillFrame = 0;
    const frame = (now) => {
      globalThis.tillFrame = Math.max(globalThis.tillFrame, now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const begun = Date.now();
  for (let [most, wheels, still] = [0, 0, 0]; still < 2000; wheels++) {
    await page(visit).mouse.wheel(0, 5000);
    const now = await table.evaluate(async (element) => {
      await new Promise(requestAnimationFrame);
      const { scrollTop, clientHeight, scrollHeight } = element;
      const rows = [...element.querySelectorAll(".table-body .table-row")];
      const isEnd = scrollTop + clientHeight >= scrollHeight - 2;
      const isAll = element.getAttribute("aria-rowcount") !== "-1" && element.getAttribute("aria-busy") !== "true";
      return { rows: rows.length, last: Number(rows.at(-1)?.getAttribute("aria-rowindex") ?? 1) - 1, isEnd, isDone: isEnd && isAll, frame: globalThis.tillFrame };
    });
    most = Math.max(most, now.rows);
    still = now.isEnd ? still + 1 : 0;
    if (now.isDone) return { rows: now.last, most, wheels: wheels + 1, ms: Date.now() - begun, frame: now.frame };
  }
  throw new Error("the table does not go on");
}

/** A figure of the overview. */
const figure = (label) => [...document.querySelectorAll(".stat")].find((one) => one.querySelector("dt").textContent === label)?.querySelector("dd").firstChild.textContent;
export const stat = async (visit, { label }) => {
  await page(visit).waitForFunction((name) => [...document.querySelectorAll(".stat dt")].some((one) => one.textContent === name), label);
  return page(visit).evaluate(figure, label);
};
/** Waits until a figure is another one, and says which. */
export async function statBecomes(visit, { label, value, not }) {
  await page(visit).waitForFunction(
    ([name, wanted, unwanted]) => {
      const now = [...document.querySelectorAll(".stat")].find((one) => one.querySelector("dt").textContent === name)?.querySelector("dd").firstChild.textContent;
      return now !== undefined && (wanted === null ? now !== unwanted : now === wanted);
    },
    [label, value ?? null, not ?? null],
  );
  return stat(visit, { label });
}

/** Waits for the state of the connection: Live, Not connected. */
export const connection = (visit, { is }) => page(visit).locator(".live", { hasText: is }).waitFor();

export const pages = (visit) => page(visit).locator("nav[aria-label=Pages] a").allInnerTexts();
export const sections = (visit) => page(visit).locator("nav.sections a").allInnerTexts();
/** What can be pressed and followed on the page itself. */
export const offered = (visit) =>
  page(visit).evaluate(() => [...document.querySelectorAll("main button, main a.button, main input[type=checkbox]")].filter((one) => one.checkVisibility() && !one.disabled).map((one) => (one.getAttribute("aria-label") ?? one.textContent).trim()));
export const heading = (visit) => page(visit).locator("h1").innerText();
export const title = (visit) => page(visit).title();
export const asked = (visit) => visit.requests.splice(0);
export const axe = (visit) => visit.axe();
export const overflow = (visit) => visit.overflow();
export const report = (visit) => visit.report;
export const scheme = async (visit, { is }) => page(visit).emulateMedia({ colorScheme: is });
export const size = async (visit, { width, height }) => page(visit).setViewportSize({ width, height });
export const picture = async (visit, { path }) => void (await page(visit).screenshot({ path, animations: "disabled", caret: "hide" }));

/** A file that the browser keeps. */
export async function fileOf(download) {
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
}

/** Presses a button that makes a file. */
export async function save(visit, { name, within = "body" }) {
  const file = page(visit).waitForEvent("download");
  await press(visit, { name, within });
  return fileOf(await file);
}

// Keys.

/** Makes a key by the form, with these limits and no others; answers what it shows of it. */
export async function mint(visit, { name, realKey, provider, calls = "", money = "", tokens = "", days = "" }) {
  await visit.go("/keys/new");
  const at = page(visit);
  await at.getByRole("button", { name: "A key that I paste" }).click();
  if (provider) await at.getByLabel("Provider", { exact: true }).selectOption(provider);
  await at.getByLabel("Real key", { exact: true }).fill(realKey);
  await at.getByLabel("Name", { exact: true }).fill(name);
  await at.getByLabel("Money, US dollars", { exact: true }).fill(money);
  await at.getByLabel("Tokens", { exact: true }).fill(tokens);
  await at.getByLabel("Calls", { exact: true }).fill(calls);
  await at.getByLabel("Days until it ends", { exact: true }).fill(days);
  await at.getByRole("button", { name: "Create the key", exact: true }).click();
  const token = await at.locator("#scoped-key").innerText();
  const snippets = {};
  for (const kind of ["Environment", "Python", "TypeScript", "curl"]) {
    await at.getByRole("button", { name: kind, exact: true }).click();
    snippets[kind] = await at.getByLabel(`For ${kind}`, { exact: true }).innerText();
  }
  await at.getByRole("button", { name: "Copy the key", exact: true }).click();
  const copied = await at.evaluate(() => navigator.clipboard.readText());
  return { token, snippets, copied };
}

/** Waits until the key of this page is in this state. */
export const keyIs = (visit, { status }) => page(visit).locator("h1 .status", { hasText: new RegExp(`^${status}$`) }).waitFor();
/** Waits until a meter of the page says this. */
export const meter = (visit, { says }) => page(visit).locator(".bar-text", { hasText: says }).first().waitFor();

export async function edit(visit, { fields }) {
  await page(visit).getByRole("button", { name: "Edit", exact: true }).click();
  for (const [label, value] of Object.entries(fields)) await dialog(visit).getByLabel(label, { exact: true }).fill(value);
  await dialog(visit).getByRole("button", { name: "Save", exact: true }).click();
  await dialog(visit).waitFor({ state: "detached" });
}

/** Fills in the dialog that is open: by label, or by group and label: `a group > a label`. */
export async function fillIn(visit, { fields }) {
  for (const [name, value] of Object.entries(fields)) {
    const [label, group] = name.split(" > ").reverse();
    const around = group === undefined ? dialog(visit) : dialog(visit).getByRole("group", { name: group, exact: true });
    const control = around.getByLabel(label, { exact: true });
    if ((await control.evaluate((element) => element.tagName)) === "SELECT") await control.selectOption({ label: value });
    else await control.fill(value);
  }
}

/** Opens or closes what a summary is of. */
export const pressSummary = (visit, { text: name }) => page(visit).locator("summary", { hasText: name }).click();

/** Sends the form of the dialog; it closes when that worked. */
export async function send(visit, { name }) {
  const open = await dialog(visit).elementHandle();
  await dialog(visit).getByRole("button", { name, exact: true }).click();
  await open.waitForElementState("hidden");
}

/** What a field has in it. */
export const value = (visit, { label, within = "body" }) => page(visit).locator(within).getByLabel(label, { exact: true }).inputValue();

/** What stands beside a term: `Role`, `Ends`. */
export const fact = (visit, { term, within = "main" }) => page(visit).locator(within).locator("dt", { hasText: new RegExp(`^${term}$`) }).first().locator("xpath=following-sibling::dd[1]").innerText();

export const clipboard = (visit) => page(visit).evaluate(() => navigator.clipboard.readText());

/** Presses a button that asks; answers what it asks. */
export async function question(visit, { name, within = "main" }) {
  await page(visit).locator(within).getByRole("button", { name, exact: true }).first().click();
  await dialog(visit).waitFor();
  return dialog(visit).innerText();
}

/** Answers it, with what has to be typed first. */
export async function answer(visit, { name, typed, reason }) {
  const confirm = dialog(visit).getByRole("button", { name, exact: true });
  if (typed !== undefined) {
    if (await confirm.isEnabled()) throw new Error("nothing had to be typed");
    await dialog(visit).getByLabel(/^Type /).fill(typed);
  }
  if (reason !== undefined) await dialog(visit).locator("input").first().fill(reason);
  await confirm.click();
  await dialog(visit).waitFor({ state: "detached" });
}

/** Searches, waits until the list has so many, and selects them all. */
export async function selectAll(visit, { search, count: wanted }) {
  await page(visit).getByLabel("Search", { exact: true }).fill(search);
  await page(visit).locator("p.hint", { hasText: new RegExp(`^${wanted} keys shown$`) }).waitFor();
  await page(visit).getByLabel("Select all that are shown").check();
  await page(visit).locator(".bulk", { hasText: `${wanted} selected` }).waitFor();
}

// The audit log.

export const filter = (visit, { label, value }) => page(visit).getByLabel(label, { exact: true }).selectOption(value);

/** Verifies the log; answers the verdict and its statements. */
export async function verify(visit, { head }) {
  const at = page(visit);
  if ((await at.getByRole("button", { name: "Verify now" }).count()) === 0) await at.getByRole("button", { name: "Verify", exact: true }).click();
  await at.getByLabel("Head, if you wrote one down").fill(head ?? "");
  await at.getByRole("button", { name: "Verify now" }).click();
  await at.locator(".verdict").waitFor();
  const code = at.locator(".head-note code");
  return {
    verdict: await at.locator(".verdict strong").first().innerText(),
    statements: await at.locator(".statements li").allInnerTexts(),
    head: (await code.count()) > 0 ? await code.innerText() : null,
  };
}

// Texts of strangers.

/** What stands in the page as elements, and what moved out of its place. */
export const harm = (visit) =>
  page(visit).evaluate(() => ({
    scripts: [...document.scripts].map((one) => one.src || one.textContent).filter((one) => !one.startsWith(`${location.origin}/dashboard/assets/`)),
    strange: document.querySelectorAll("main img, main iframe, main svg, main object, main base, main marquee, main style, main b.pwned, main a[href^='javascript:']").length,
    pwned: globalThis.pwned ?? null,
    // A mark of direction that nothing isolates turns what stands beside it.
    turned: [...document.querySelectorAll("body *")].filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && /[\u202a-\u202e\u2066-\u2069]/.test(node.data)) && one.closest("bdi") === null && !["TEXTAREA", "INPUT", "OPTION"].includes(one.tagName)).map((one) => one.outerHTML.slice(0, 200)),
    title: /[\u202a-\u202e\u2066-\u2069]/.test(document.title),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    tallest: Math.max(0, ...[...document.querySelectorAll(".table-row, .plain-table tr, .legend li, .page-head h1, nav.sections li, .toast, .banner")].map((one) => one.getBoundingClientRect().height)),
  }));

// Whether the watches see what they are for.

export const misbehave = (visit, { elsewhere }) =>
  page(visit).evaluate(async (url) => {
    console.error("an error on purpose");
    const style = document.createElement("p");
    style.setAttribute("style", "color: red");
    await fetch(url).catch(() => {});
    const image = document.createElement("img");
    image.src = `${url}picture.png`;
    document.querySelector("main").append(style, image);
    setTimeout(() => {
      throw new Error("thrown on purpose");
    });
    alert("said on purpose");
    const wide = document.createElement("p");
    wide.textContent = "w".repeat(2000);
    document.querySelector("main").append(wide);
  }, elsewhere);
