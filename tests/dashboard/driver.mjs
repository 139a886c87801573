// Does what the suite says, step by step: one JSON job per line in, one JSON answer per line out.
// One browser for all; each visit has its own cookies and storage.

import { createInterface } from "node:readline";
import { readFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import * as keyboard from "./keyboard.mjs";
import * as mouse from "./steps.mjs";
import { Visit } from "./visit.mjs";

const browser = await chromium.launch({
  executablePath: process.env.TILL_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Nothing but this machine has a name: a request to elsewhere can't even be asked for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
const steps = { ...mouse, ...keyboard };
const visits = new Map();

/** For trying a build of `web/` that is in no binary: `npm run build -- --outDir DIRECTORY`. */
async function otherFiles(visit, directory) {
  const kinds = { js: "text/javascript", css: "text/css", html: "text/html", svg: "image/svg+xml" };
  const { headers } = await visit.context.request.get(`${visit.url}/dashboard/`).then((answer) => ({ headers: answer.headers() }));
  await visit.context.route(/^[^?]*\/dashboard\//, (route) => {
    const asked = new URL(route.request().url()).pathname.slice("/dashboard/".length);
    const name = asked !== "" && existsSync(join(directory, asked)) ? asked : "index.html";
    const policy = { "content-security-policy": headers["content-security-policy"], "content-type": kinds[name.split(".").pop()] };
    return route.fulfill({ status: 200, headers: policy, body: readFileSync(join(directory, name)) });
  });
}

async function run({ visit: name, step, ...given }) {
  if (step === "open") {
    const visit = await Visit.open(browser, given);
    if (process.env.TILL_DASHBOARD_FILES) await otherFiles(visit, process.env.TILL_DASHBOARD_FILES);
    visits.set(name, visit);
    return null;
  }
  const visit = visits.get(name);
  if (step === "close") {
    visits.delete(name);
    await visit.close();
    return visit.report;
  }
  try {
    return (await steps[step](visit, given)) ?? null;
  } catch (error) {
    const shown = await visit.page.evaluate(() => `${location.pathname}${location.search}\n${document.body.innerText.slice(0, 3000)}`).catch(String);
    await visit.page.screenshot({ path: given.failed }).catch(() => {});
    throw new Error(`${step}: ${error.message.split("\n").slice(0, 12).join("\n")}\n-- the page:\n${shown}\n-- the console:\n${visit.console.join("\n")}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: await run(JSON.parse(line)) };
  } catch (error) {
    answer = { error: error.message };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
