// Looks at the page of Penstock.Dashboard in headless Chromium. Run by dashboard.sh as `node check.mjs COMMAND…`,
// where COMMAND starts a node under a flood: see flood.exs.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Browser, Node, assert, axeFaults, check } from "./harness.mjs";
import { checkDay } from "./day.mjs";

const command = process.argv.slice(2);
const pictures = process.env.DASHBOARD_CHECK_PICTURES;
mkdirSync(pictures, { recursive: true });

const TOKEN = "a-token-of-24-characters";
const WIDTHS = [1400, 390];
const SCHEMES = ["light", "dark"];
const PATIENCE = { timeout: 10_000 };

const rowOf = (page, name) =>
  page.locator("li.gate", { has: page.locator(".name bdi", { hasText: new RegExp(`^${name}$`) }) });
const live = (page) => page.locator("#live", { hasText: "Live" }).waitFor(PATIENCE);

let node = await Node.start(command);
const url = `http://127.0.0.1:${node.port}/`;
const browser = await Browser.launch();
const page = await browser.page();

await check("the page shows the gates of the node", async () => {
  await page.goto(url);
  await live(page);
  await rowOf(page, "MyApp.Jobs").waitFor(PATIENCE);
});

await check("a pool under a flood refuses, and says why", async () => {
  const jobs = rowOf(page, "MyApp.Jobs");
  await jobs.and(page.locator("[data-state=refusing]")).waitFor(PATIENCE);
  const why = await jobs.locator(".why").innerText();
  assert(/\/s full: all 20 permits are held by 20 processes/.test(why), why);
  assert((await jobs.locator(".use").innerText()).includes("20 / 20"), "its use is not shown");
});

await check("a pool that becomes full turns visibly, above the calm gates", async () => {
  const uploads = rowOf(page, "MyApp.Uploads");
  const ground = (row) => row.evaluate((element) => getComputedStyle(element).backgroundColor);
  const calm = await ground(rowOf(page, "MyApp.Shard5"));
  assert((await uploads.getAttribute("data-state")) !== "refusing", "it refuses before it is full");
  await node.fill();
  await uploads.and(page.locator("[data-state=refusing]")).waitFor(PATIENCE);
  assert((await uploads.locator(".word").innerText()) === "Refuses", "the word is missing");
  assert(/full: all 3 permits are held/.test(await uploads.locator(".why").innerText()), "the reason is missing");
  assert((await ground(uploads)) !== calm, "its ground is that of a calm gate");
  const verdict = await page.locator("#verdict").innerText();
  assert(/^\d+ of 16 gates refuses? work$/.test(verdict), verdict);
  const [at, calmAt] = [(await uploads.boundingBox()).y, (await rowOf(page, "MyApp.Shard5").boundingBox()).y];
  assert(at < calmAt, "it stands below a calm gate");
  assert((await page.title()).includes("refuse"), "the title of the tab does not say so");
});

await check("screen readers are told once, politely", async () => {
  await page.locator("#news", { hasText: "MyApp.Uploads refuses" }).waitFor({ state: "attached", timeout: 30_000 });
  assert((await page.locator("[aria-live=assertive]").count()) === 0, "a region interrupts");
});

await check("the curves move", async () => {
  const picture = () =>
    rowOf(page, "MyApp.Uploads")
      .locator("canvas")
      .evaluate((canvas) => canvas.toDataURL());
  const first = await picture();
  const moved = async () => {
    while ((await picture()) === first) await page.waitForTimeout(100);
    return true;
  };
  const late = page.waitForTimeout(10_000).then(() => false);
  assert(await Promise.race([moved(), late]), "the picture stays as it is");
});

await check("names and keys are text, however they look", async () => {
  const names = await page.locator(".name bdi").allInnerTexts();
  assert(
    names.some((name) => name.includes("<script>window.injected")),
    "the name with a script is missing",
  );
  assert(
    names.some((name) => name.includes("<img src=x")),
    "the name with an image is missing",
  );
  assert(
    names.some((name) => name.length >= 255),
    "the long name is missing",
  );
  assert(
    names.some((name) => name.endsWith('\\u202Ebackwards"')),
    "the name that turns the text around is missing",
  );
  assert((await page.locator("#keys").innerText()).includes("<img src=x onerror=alert(2)>"), "the key is missing");
  assert(
    (await page.locator("#bans").innerText()).includes("<b>too many logins</b>"),
    "the reason of a ban is missing",
  );
  assert((await page.locator("main img, main script, main b").count()) === 0, "an element has been injected");
  assert((await page.evaluate(() => globalThis.injected)) === undefined, "a script has run");
  assert(browser.dialogs.length === 0, `a dialog says ${browser.dialogs[0]}`);
});

await check("the details of a gate lead to its limits", async () => {
  await rowOf(page, "MyApp.Checkout").locator(".name").click();
  await rowOf(page, "MyApp.Checkout").locator(".limits button", { hasText: "MyApp.Api" }).click();
  const api = rowOf(page, "MyApp.Api");
  assert((await api.locator(".name").getAttribute("aria-expanded")) === "true", "the limit is not open");
  assert(await api.locator(".name").evaluate((button) => button === document.activeElement), "the focus is elsewhere");
  await api.locator(".large canvas").first().waitFor(PATIENCE);
  await api.locator(".reasons", { hasText: "rate_limited" }).waitFor(PATIENCE);
  await api.locator("summary").click();
  await api.locator(".minutes tbody tr").first().waitFor(PATIENCE);
});

await check("a holder tells what it does now", async () => {
  const holder = page.locator("#holders tbody").first();
  assert(/\d\u202f(ms|s|min)/.test(await holder.locator(".held").textContent()), "its age is missing");
  await holder.getByRole("button").click();
  await holder.locator(".stack li, .figures dd").first().waitFor(PATIENCE);
  assert((await holder.innerText()).includes("runs now"), await holder.innerText());
});

await check("the creators of processes are traced on demand", async () => {
  await page.locator("#spawners-start").click();
  await page.locator("#spawners-progress").waitFor(PATIENCE);
  await page.locator("#spawners-said", { hasText: "created in" }).waitFor(PATIENCE);
  assert((await page.locator("#spawners tbody tr").count()) >= 1, "no creator is shown");
  assert((await page.locator("#spawners-start").getAttribute("aria-disabled")) === null, "the button stays disabled");
});

await check("the filter finds gates by a part of their name", async () => {
  await page.locator("#filter").fill("shard");
  await page.locator("#filter-count", { hasText: "5 gates of" }).waitFor(PATIENCE);
  assert((await page.locator("li.gate").count()) === 5, "other gates are shown as well");
  await page.locator("#filter").fill("");
  await rowOf(page, "MyApp.Jobs").waitFor(PATIENCE);
});

await check("the keyboard reaches every control, and shows where it is", async () => {
  await page.evaluate(() => {
    document.activeElement.blur();
    scrollTo(0, 0);
    getSelection().removeAllRanges();
  });
  const selector = "a[href], button, input, summary";
  const visible = await page.locator(selector).evaluateAll((all) => {
    globalThis.reached = new Set();
    return all.filter((element) => element.checkVisibility()).length;
  });
  let unseen = "";
  // The rows may change places meanwhile, so the walk may come by some controls twice.
  for (let i = 0; i < 3 * visible && unseen === ""; i++) {
    await page.keyboard.press("Tab");
    const { done, fault } = await page.evaluate((wanted) => {
      const element = document.activeElement;
      const fault =
        element.matches(wanted) && getComputedStyle(element).outlineStyle === "none"
          ? element.outerHTML.slice(0, 120)
          : "";
      globalThis.reached.add(element);
      const left = [...document.querySelectorAll(wanted)].filter(
        (each) => each.checkVisibility() && !globalThis.reached.has(each),
      );
      return { done: left.length === 0, fault };
    }, selector);
    unseen = fault;
    if (done) break;
  }
  assert(unseen === "", `no focus is seen on ${unseen}`);
  const missed = await page
    .locator(selector)
    .evaluateAll((all) =>
      all
        .filter((each) => each.checkVisibility() && !globalThis.reached.has(each))
        .map((each) => each.outerHTML.slice(0, 80)),
    );
  assert(missed.length === 0, `not reached: ${missed.join(" ")}`);
});

await check("the theme can be chosen, and stays", async () => {
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert((await theme()) === "light", "it is not that of the system");
  const button = page.locator("#theme");
  while ((await button.innerText()) !== "Theme: dark") await button.click();
  assert((await theme()) === "dark", "dark is not dark");
  await page.reload();
  assert((await theme()) === "dark", "the choice is lost");
  await page.evaluate(() => localStorage.clear());
});

for (const width of WIDTHS) {
  for (const scheme of SCHEMES) {
    const height = width === 390 ? 844 : 900;
    const other = await browser.page({ width, height, scheme });
    await check(`${width} px, ${scheme}: axe finds no serious fault`, async () => {
      await other.goto(url);
      await live(other);
      await rowOf(other, "MyApp.Jobs").waitFor(PATIENCE);
      await other.screenshot({ path: join(pictures, `dashboard-${width}-${scheme}.png`) });
      await rowOf(other, "MyApp.Jobs").locator(".name").click();
      await rowOf(other, "MyApp.Jobs").locator(".large canvas").first().waitFor(PATIENCE);
      await other.evaluate(() => scrollTo(0, 0));
      await other.screenshot({ path: join(pictures, `dashboard-${width}-${scheme}-details.png`) });
      await other.locator("#holders button").first().click();
      await other.locator("#holders .figures").first().waitFor(PATIENCE);
      await other.locator("#holders").screenshot({ path: join(pictures, `dashboard-${width}-${scheme}-holders.png`) });
      const faults = await axeFaults(other);
      assert(faults.length === 0, faults.join(" | "));
    });
    await check(`${width} px, ${scheme}: nothing lies beyond the right edge`, async () => {
      const wide = await other.evaluate(() => document.documentElement.scrollWidth);
      assert(wide <= width, `the page is ${wide} px wide`);
    });
    await other.context().close();
  }
}

await check("the console has no error, and the content security policy no violation", async () => {
  assert(browser.faults.length === 0, browser.faults.join(" | "));
  const violations = await page.evaluate(() => globalThis.violations);
  assert(violations.length === 0, violations.join(" | "));
});

await check("24 h on an idle page do not grow its memory", () => checkDay(browser, url));
browser.faults.length = 0;

await check("a lost node is shown, with its last figures", async () => {
  await live(page);
  await node.kill();
  await page.locator("#trouble", { hasText: "The node does not answer" }).waitFor(PATIENCE);
  const main = page.locator("main");
  assert(
    (await main.evaluate((element) => getComputedStyle(element).filter)).includes("grayscale"),
    "the figures look alive",
  );
  assert(await rowOf(page, "MyApp.Jobs").isVisible(), "the figures are gone");
  await page.locator("#trouble-next", { hasText: "Next try in" }).waitFor(PATIENCE);
  await page.screenshot({ path: join(pictures, "dashboard-lost.png") });
  const faults = await axeFaults(page);
  assert(faults.length === 0, faults.join(" | "));
});

await check("a node that is back, and has a token now, is asked for it", async () => {
  node = await Node.start(command, node.port, TOKEN);
  await page.locator("#retry").click();
  await page.locator("#trouble", { hasText: "asks for its token" }).waitFor({ timeout: 30_000 });
});

await check("a wrong token opens nothing", async () => {
  const other = await browser.page();
  const wrong = await other.goto(`${url}?token=${TOKEN.replace("a", "b")}`);
  assert(wrong.status() === 401, `status ${wrong.status()}`);
  assert((await other.locator("li.gate").count()) === 0, "gates are shown");
  await other.context().close();
});

await check("the token opens the page, and stays out of its address", async () => {
  await page.locator("#token").fill(TOKEN);
  await page.locator("#token").press("Enter");
  await page.waitForURL(url, PATIENCE);
  await live(page);
  await rowOf(page, "MyApp.Jobs").waitFor(PATIENCE);
  assert(await page.locator("#trouble").isHidden(), "the trouble is still shown");
  const [cookie] = await page.context().cookies();
  assert(cookie.httpOnly && cookie.sameSite === "Strict", "scripts or other sites can use the cookie");
});

await check("a page that was open while its node was away goes on by itself", async () => {
  await node.kill();
  await page.locator("#trouble").waitFor(PATIENCE);
  node = await Node.start(command, node.port, TOKEN);
  await page.locator("#trouble").waitFor({ state: "hidden", timeout: 30_000 });
  await live(page);
});

await check("the console shows no fault but the lost answers", async () => {
  const lost = /^error: Failed to load resource: (net::ERR_|the server responded with a status of 401)/;
  const others = browser.faults.filter((fault) => !lost.test(fault));
  assert(others.length === 0, others.join(" | "));
});

await check("no request leaves the machine", async () => {
  const away = browser.requests.filter((each) => !each.startsWith(url) && !each.startsWith("data:"));
  assert(browser.requests.length > 100, `only ${browser.requests.length} requests were seen`);
  assert(away.length === 0, away.join(" "));
});

await browser.close();
await node.kill();
const { checkFeed } = await import("./feed.mjs");
await checkFeed();
console.log("end");
// The timers of the feeds may still run.
process.exit();
