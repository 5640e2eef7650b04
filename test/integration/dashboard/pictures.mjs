// Takes the pictures of the guides. Run by pictures.sh as `node pictures.mjs SECONDS COMMAND…`, where COMMAND
// starts a node under a load of SECONDS: see application.exs.

import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { Browser, Node, assert } from "./harness.mjs";

const [seconds, ...command] = process.argv.slice(2);
const directory = process.env.PICTURES_DIRECTORY;

// A picture is part of the package that users download.
const MOST_BYTES = 100_000;
// The page has few colours. With so many, a picture looks the same in a third of the bytes.
const COLOURS = "128";
const PATIENCE = { timeout: 20_000 };
const PICTURES = [
  { name: "dashboard-light.png", width: 1400, height: 1000, scheme: "light" },
  { name: "dashboard-dark.png", width: 1400, height: 1000, scheme: "dark" },
  { name: "dashboard-phone.png", width: 390, height: 844, scheme: "light" },
];

const node = await Node.start(command);
const browser = await Browser.launch();
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1_000));

for (const { name, width, height, scheme } of PICTURES) {
  const page = await browser.page({ width, height, scheme });
  await page.goto(`http://127.0.0.1:${node.port}/`);
  await page.locator("#live", { hasText: "Live" }).waitFor(PATIENCE);
  await page.locator("li.gate[data-state=refusing]").first().waitFor(PATIENCE);
  await page.locator("#holders tbody tr").first().waitFor(PATIENCE);
  const path = join(directory, name);
  await page.screenshot({ path });
  await page.context().close();
  execFileSync("pngquant", ["--force", "--output", path, COLOURS, path]);
  const bytes = statSync(path).size;
  console.log(`${name}: ${bytes} bytes`);
  assert(bytes <= MOST_BYTES, `${name} has ${bytes} bytes, more than ${MOST_BYTES}`);
}

await node.ask(`top ${join(directory, "top.txt")}`, /^written$/);
await browser.close();
await node.kill();
assert(browser.faults.length === 0, browser.faults[0]);
