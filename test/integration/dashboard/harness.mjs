// Starts the node and the browser, and counts checks. Prints a line for each check, which dashboard.sh reads:
// a verdict, a name and the reason of a failure, with tabs in between.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";

// The modules of npm are in a cache, outside of the repository.
const require = createRequire(join(process.env.DASHBOARD_CHECK_MODULES, "from.cjs"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const START_MS = 60_000;

export async function check(name, test) {
  try {
    await test();
    console.log(`ok\t${name}`);
  } catch (error) {
    const why = String(error?.message ?? error)
      .replaceAll("\u001b", "")
      .split("\n")
      .filter(Boolean)
      .slice(0, 12)
      .join(" | ");
    console.log(`bad\t${name}\t${why.replaceAll("\t", " ")}`);
  }
}

export function assert(condition, said) {
  if (!condition) throw new Error(said);
}

// A node that runs `command PORT [TOKEN]`.
export class Node {
  #process;
  #lines = [];
  #waiting = null;

  static async start(command, port = 0, token = null) {
    const node = new Node();
    const [program, ...args] = command;
    node.#process = spawn(program, [...args, String(port), ...(token ? [token] : [])], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    node.ended = new Promise((resolve) => node.#process.once("exit", resolve));
    createInterface({ input: node.#process.stdout }).on("line", (line) => {
      node.#lines.push(line);
      node.#waiting?.();
    });
    const line = await node.#line(/^listening \d+$/);
    node.port = Number(line.split(" ")[1]);
    return node;
  }

  fill() {
    return this.ask("fill", /^filled$/);
  }

  // Writes a line to the node, and waits for the answer.
  async ask(line, answer) {
    this.#process.stdin.write(`${line}\n`);
    return await this.#line(answer);
  }

  // Ends the node as a crash would.
  async kill() {
    this.#process.kill("SIGKILL");
    await this.ended;
  }

  async #line(wanted) {
    const late = new Promise((_, reject) =>
      setTimeout(reject, START_MS, new Error(`the node did not print ${wanted}`)).unref(),
    );
    const gone = this.ended.then((status) => Promise.reject(new Error(`the node ended with status ${status}`)));
    gone.catch(() => {});
    for (;;) {
      const line = this.#lines.find((each) => wanted.test(each));
      if (line) return line;
      await Promise.race([new Promise((resolve) => (this.#waiting = resolve)), late, gone]);
    }
  }
}

export class Browser {
  // What no page may do.
  dialogs = [];
  faults = [];
  requests = [];

  static async launch() {
    const browser = new Browser();
    browser.browser = await chromium.launch({
      executablePath: process.env.DASHBOARD_CHECK_CHROMIUM,
      args: [
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        // Any other name fails, and so shows as a fault.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
      ],
    });
    return browser;
  }

  async page({ width = 1400, height = 900, scheme = "light", prepare } = {}) {
    const context = await this.browser.newContext({
      viewport: { width, height },
      colorScheme: scheme,
      reducedMotion: "reduce",
    });
    const page = await context.newPage();
    page.on("dialog", (dialog) => {
      this.dialogs.push(dialog.message());
      dialog.dismiss();
    });
    page.on("pageerror", (error) => this.faults.push(`exception: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.faults.push(`${message.type()}: ${message.text()}`);
    });
    page.on("request", (request) => this.requests.push(request.url()));
    await page.addInitScript(() => {
      globalThis.violations = [];
      addEventListener("securitypolicyviolation", (event) =>
        globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`),
      );
    });
    if (prepare) await prepare(page);
    return page;
  }

  close() {
    return this.browser.close();
  }
}

// Returns the serious and critical faults that axe finds.
export async function axeFaults(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(
      ({ id, nodes }) =>
        `${id}: ${nodes
          .slice(0, 3)
          .map((node) => node.html.slice(0, 120))
          .join(" ")}`,
    );
}
