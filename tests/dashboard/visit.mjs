// Somebody at the dashboard: a browser of their own, and everything that went wrong in it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** How long something may take to be there. Nothing waits for a time to pass. */
const PATIENCE_MS = 20_000;

/** In every page, before its own scripts: what the content security policy refused, and what moves. */
const WATCH = () => {
  document.addEventListener("securitypolicyviolation", (event) => {
    globalThis.tillPolicy(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
  });
};

export class Visit {
  static async open(browser, { url, scheme = "light", width = 1280, height = 900, scale = 1 }) {
    const context = await browser.newContext({
      viewport: { width, height },
      deviceScaleFactor: scale,
      colorScheme: scheme,
      reducedMotion: "reduce",
      locale: "en-GB",
      timezoneId: "Europe/Berlin",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const visit = new Visit(context, url);
    await visit.#watch();
    visit.page = await context.newPage();
    return visit;
  }

  constructor(context, url) {
    this.context = context;
    this.url = url;
    this.page = null;
    this.console = [];
    this.policy = [];
    this.elsewhere = [];
    this.dialogs = [];
    this.requests = [];
    this.letGo = null;
  }

  async #watch() {
    const { context } = this;
    context.setDefaultTimeout(PATIENCE_MS);
    await context.exposeBinding("tillPolicy", (_, text) => void this.policy.push(text));
    await context.addInitScript(WATCH);
    context.on("console", (message) => {
      if (["error", "warning", "assert"].includes(message.type())) {
        this.console.push(`${message.type()}: ${message.text()} (${message.location().url})`);
      }
    });
    context.on("weberror", (error) => void this.console.push(`thrown: ${error.error().stack ?? error.error().message}`));
    context.on("dialog", (dialog) => {
      // Chromium asks whether a page with something unsaved may be left: that is no text of a stranger.
      if (dialog.type() !== "beforeunload") this.dialogs.push(`${dialog.type()}: ${dialog.message()}`);
      void dialog.accept().catch(() => {});
    });
    const { origin } = new URL(this.url);
    context.on("request", (request) => {
      const to = new URL(request.url());
      if (to.protocol === "data:" || to.protocol === "blob:") return;
      if (to.origin === origin) this.requests.push(`${request.method()} ${to.pathname}`);
      else this.elsewhere.push(request.url());
    });
  }

  /** What nobody should have seen. */
  get report() {
    const { console, policy, elsewhere, dialogs } = this;
    return { console, policy, elsewhere, dialogs };
  }

  /** Opens a page by its address, as somebody who follows a link from elsewhere. */
  async go(path) {
    await this.page.goto(`${this.url}/dashboard${path}`);
    await this.settled();
  }

  /** Waits until nothing is loading any more. */
  async settled() {
    await this.page.locator("h1").first().waitFor();
    await this.page.waitForFunction(() => ![...document.querySelectorAll("p.state[role=status]")].some((one) => one.textContent.startsWith("Loading")));
  }

  /** What axe-core has against the page as it is: serious and worse. */
  async axe() {
    const session = await this.context.newCDPSession(this.page);
    // By the debugger: the content security policy lets nobody else put a script in.
    await session.send("Runtime.evaluate", { expression: `globalThis.axe ?? (() => { ${AXE} })()` });
    await session.detach();
    return this.page.evaluate(async () => {
      const found = await globalThis.axe.run(document, { resultTypes: ["violations"], preload: false });
      return found.violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} [${node.any.concat(node.all, node.none).map((one) => one.message).join("; ").slice(0, 200)}]`).join(" | ")}`);
    });
  }

  /** How far the page is wider than the window. */
  async overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  async close() {
    await this.context.close();
  }
}
