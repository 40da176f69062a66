// The page of `explain --html` in a headless Chromium. `scripts/page` calls it:
//
//   node browser.mjs DIR CHROMIUM    DIR has usual.html, diff.html, evil.html, large.html; screenshots go to DIR/shots
//
// It prints one line per check and fails at the first that does not hold.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

const [dir, executablePath] = process.argv.slice(2);
const require = createRequire(resolve("package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const shots = join(dir, "shots");
mkdirSync(shots, { recursive: true });

const check = (what, holds, detail = "") => {
  console.log(`${holds ? "ok  " : "FAIL"}  ${what}${detail === "" ? "" : `: ${detail}`}`);
  if (!holds) process.exit(1);
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

// A page that records every message of the console and every request.
const open = async (name, options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.problems = [];
  page.requests = [];
  page.on("console", (m) => page.problems.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => page.problems.push(`error: ${e.message}`));
  page.on("dialog", (d) => { page.problems.push(`dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => page.requests.push(r.url()));
  await page.goto(`file://${resolve(dir, name)}`, { waitUntil: "load" });
  return page;
};
const quiet = (page, name) => {
  check(`${name}: nothing in the console`, page.problems.length === 0, page.problems.join("; "));
  check(`${name}: one request, the file`, page.requests.length === 1, page.requests.slice(1).join(" "));
};
const visible = (page) => page.locator(".row:visible").count();
// axe brings its own styles and scripts past the page's policy: in the debugger's world.
const accessible = async (page, name) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const said = violations.map((v) => `${v.id} (${v.nodes.length}): ${v.nodes[0].target} ${v.nodes[0].failureSummary}`);
  check(`${name}: axe-core finds nothing`, violations.length === 0, said.join("\n"));
};

{
  const page = await open("usual.html");
  check("usual: below 300 KiB", statSync(join(dir, "usual.html")).size < 300 << 10, `${statSync(join(dir, "usual.html")).size} bytes`);
  const all = await visible(page);
  check("usual: all rows are shown", all > 60, all);
  await page.screenshot({ path: join(shots, "light.png") });
  await page.screenshot({ path: join(shots, "whole.png"), fullPage: true });
  await accessible(page, "usual");

  await page.keyboard.press("/");
  await page.keyboard.type("pivot_root");
  check("search: by system call", (await visible(page)) >= 1 && (await visible(page)) < 10, await page.locator("#count").textContent());
  await page.keyboard.press("Escape");
  check("search: Escape shows all again", (await visible(page)) === all);
  await page.fill("#q", "CVE-2024-21626");
  check("search: by CVE, in texts that are folded", (await visible(page)) > 0, await visible(page));
  await page.fill("#q", "");

  await page.selectOption("#layer", "seccomp");
  check("filter: layer", (await visible(page)) === (await page.locator('.row[data-layer="seccomp"]').count()));
  await page.selectOption("#layer", "");
  await page.selectOption("#actor", "init");
  check("filter: actor", (await page.locator(".row.runtime:visible").count()) === 0 && (await visible(page)) > 10);
  await page.selectOption("#call", "setuid");
  check("filter: actor and system call", (await visible(page)) === 1, await page.locator(".row:visible .name").first().textContent());
  await page.keyboard.press("Escape");
  await page.click('button[data-layer="masks"]');
  check("filter: a layer of the table", (await page.inputValue("#layer")) === "masks" && (await visible(page)) > 0);
  await page.keyboard.press("Escape");

  await page.click("#fold");
  check("fold: no row is shown", (await visible(page)) === 0);
  await page.click("#fold");
  check("fold: all rows are shown again", (await visible(page)) === all);
  await page.locator(".part > summary").first().focus();
  await page.keyboard.press("Enter");
  check("fold: a section, by the keyboard", (await visible(page)) < all);
  await page.keyboard.press("Enter");

  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  const focused = () => page.evaluate(() => document.activeElement.parentElement.id);
  check("keys: j and k move between rows", (await focused()).startsWith("row:"), await focused());
  await page.keyboard.press("Enter");
  check("keys: Enter opens a row", await page.evaluate(() => document.activeElement.parentElement.open));
  const why = await page.evaluate(() => document.activeElement.parentElement.querySelector("dd").textContent);
  check("a row has its why", why.length > 20, why);

  await page.evaluate(() => { location.hash = "#row:pivot"; });
  await page.waitForFunction(() => document.getElementById("row:pivot").open);
  await page.waitForTimeout(200);
  check("an address opens a row", await page.locator('[id="row:pivot"] dl').isVisible());
  await page.screenshot({ path: join(shots, "row.png") });
  await page.emulateMedia({ media: "print" });
  await page.pdf({ path: join(shots, "usual.pdf") });
  check("print: tools are left out", !(await page.locator(".tools").isVisible()));
  quiet(page, "usual");
}
for (const [name, options] of [["dark", { colorScheme: "dark" }], ["phone", { viewport: { width: 390, height: 844 } }]]) {
  const page = await open("usual.html", options);
  await page.screenshot({ path: join(shots, `${name}.png`) });
  await page.locator(".row summary").nth(20).click();
  await page.screenshot({ path: join(shots, `${name}-rows.png`) });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(`${name}: nothing sticks out`, wide <= 0, wide);
  await accessible(page, name);
  quiet(page, name);
}
{
  const page = await open("usual.html", { javaScriptEnabled: false });
  check("without the script: rows and sections are there", (await visible(page)) > 60);
  await page.locator(".row summary").first().click();
  check("without the script: a row opens", await page.locator(".row dl").first().isVisible());
}
for (const [name, scheme] of [["diff", "light"], ["diff", "dark"]]) {
  const page = await open("diff.html", { colorScheme: scheme });
  const all = await visible(page);
  const differ = await page.locator(".differs").count();
  check(`${name}: rows differ and rows are the same`, differ > 10 && differ < all, `${differ} of ${all}`);
  await page.check("#changed");
  check(`${name}: only rows that differ`, (await visible(page)) === differ);
  await page.locator("#rows").scrollIntoViewIfNeeded();
  await page.evaluate(() => document.getElementById("rows").scrollIntoView());
  await page.screenshot({ path: join(shots, `${name}-${scheme}.png`) });
  const sides = await page.locator(".differs").first().evaluate((row) => [...row.children].map((c) => c.getBoundingClientRect().left));
  check(`${name}: side by side`, sides.length === 2 && sides[0] < sides[1], sides.join(" "));
  await accessible(page, `${name} ${scheme}`);
  quiet(page, name);
}
{
  const page = await open("evil.html");
  await page.waitForTimeout(300);
  check("evil: a hostile config runs no script", !(await page.evaluate(() => "owned" in window)));
  check("evil: its text is shown", (await page.locator("body").textContent()).includes("</script><script>window.owned"));
  quiet(page, "evil");
  await accessible(page, "evil");
}
for (const name of ["usual.html", "diff.html", "large.html"]) {
  const page = await open(name);
  const load = await page.evaluate(() => performance.getEntriesByType("navigation")[0].loadEventEnd);
  const time = (value) => page.evaluate(async (value) => {
    const q = document.getElementById("q");
    const start = performance.now();
    q.value = value;
    q.dispatchEvent(new Event("input"));
    // Until it is painted.
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
  }, value);
  const times = [];
  for (const word of ["tmpfs", "seccomp", ""]) times.push(Math.round(await time(word)));
  const rows = await page.locator(".row").count();
  console.log(`time  ${name}: ${rows} rows, ${statSync(join(dir, name)).size} bytes, loaded in ${Math.round(load)} ms, filters in ${times.join(", ")} ms`);
  check(`${name}: filters within a second`, Math.max(...times) < 1000);
}
await browser.close();
