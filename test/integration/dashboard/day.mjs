// Lets a day pass on a page that no user touches, by a simulated clock, and measures its memory.

import { assert } from "./harness.mjs";

const HOUR_MS = 3_600_000;
// Each step brings all points of its time, as on a machine that was asleep. So a day of 86,400 points takes less than
// a minute.
const STEP_MS = 60_000;
const START_MS = Date.UTC(2026, 0, 1);
// The curves are full after ten minutes, but the browser still compiles the page's code for some hundred answers more.
// The bound is for the rest of that, and for less than 182 bytes for each answer.
const FIRST_HOURS = 12;
const HOURS = 24;
const MOST_GROWTH = 256 * 1024;
const MOST_NODES = 50;

// A clock that only `pass` advances. Playwright's own clock keeps a log of its steps in the page, which would count as
// memory of the page. Runs in the page.
function simulateTime(start) {
  let now = start;
  let made = 0;
  const timers = new Map();
  const RealDate = Date;

  globalThis.Date = class extends RealDate {
    constructor(...parts) {
      if (parts.length === 0) super(now);
      else super(...parts);
    }

    static now() {
      return now;
    }
  };
  performance.now = () => now - start;
  const add = (run, ms, every) => {
    made += 1;
    timers.set(made, { at: now + ms, run, every });
    return made;
  };
  globalThis.setTimeout = (run, ms = 0) => add(run, ms, null);
  globalThis.setInterval = (run, ms) => add(run, ms, ms);
  globalThis.clearTimeout = globalThis.clearInterval = (id) => timers.delete(id);

  const channel = new MessageChannel();
  // Lets promises settle, and the browser draw.
  const turn = () => {
    return new Promise((resolve) => {
      channel.port1.onmessage = resolve;
      channel.port2.postMessage(null);
    });
  };

  // Each timer that is due runs once in a step, as on a machine that was asleep.
  globalThis.pass = async (ms, step) => {
    for (const end = now + ms; now < end;) {
      now += step;
      for (const [id, timer] of [...timers]) {
        if (timer.at > now || !timers.has(id)) continue;
        if (timer.every === null) timers.delete(id);
        else timer.at = now + timer.every;
        timer.run();
      }
      await turn();
    }
  };
}

// Stands for the server. Runs in the page, since a day of real requests would take a day.
function answer() {
  const gates = Array.from({ length: 8 }, (_, i) => `MyApp.Gate${i}`);
  const flow = (t, i) => 50 + 40 * Math.sin(t / 20_000 + i) + ((t / 1_000) % 7);

  function state(since, at) {
    const from = Math.max(since + 1_000, at - 599_000);
    const t = [];
    for (let time = Math.ceil(from / 1_000) * 1_000; time <= at; time += 1_000) t.push(time);
    const curve = (i) => t.map((time) => flow(time, i));
    // Gates turn, and holders come and go, because rows that are made and removed may leak as well.
    const minute = Math.floor(at / 60_000);
    return {
      at,
      node: "idle@host",
      otp: "27",
      elixir: "1.18.3",
      version: "0.1.0",
      uptime_s: at / 1_000,
      vm: {
        pressure: minute % 3 === 0 ? "high" : "normal",
        because: [],
        resources: [
          { name: "processes", count: minute, limit: 1e9, used: flow(at, 0) / 100, level: "normal", unit: "count" },
        ],
      },
      gates: gates.map((id, i) => {
        const refuses = (minute + i) % 10 === 0;
        return {
          id,
          kind: "pool",
          status: "open",
          state: refuses ? "refusing" : "calm",
          why: refuses ? `${minute}/s full: all 100 permits are held` : null,
          in_use: Math.round(flow(at, i)),
          limit: 100,
          waiting: minute % 5,
          used: flow(at, i) / 100,
          admitted_s: flow(at, i),
          refused_s: refuses ? minute : 0,
          reasons: refuses ? { full: minute } : {},
          figures: [["peak", minute]],
        };
      }),
      left_out: 0,
      history: {
        t,
        vm: { processes: t.map((time) => flow(time, 0) / 100) },
        gates: Object.fromEntries(
          gates.map((id, i) => [id, { in_use: curve(i), waiting: curve(i), admitted: curve(i), refused: curve(i) }]),
        ),
      },
      holders: Array.from({ length: 8 }, (_, i) => ({
        gate: gates[0],
        pid: `<0.${minute + i}.0>`,
        permits: 1,
        held_ms: 1_000 * i,
      })),
      keys: [{ gate: gates[1], key: `{:user, ${minute}}`, permits: 1, waiting: 0 }],
      bans: [{ gate: gates[2], key: String(minute), until_ms: 1_000, reason: "none", level: 1 }],
    };
  }

  globalThis.answers = 0;
  globalThis.fetch = async (path) => {
    globalThis.answers += 1;
    const since = Number(new URL(path, location.href).searchParams.get("since"));
    return Response.json(state(since, Math.floor(Date.now() / 1_000) * 1_000));
  };
}

export async function checkDay(browser, url) {
  const page = await browser.page({
    width: 900,
    height: 600,
    prepare: async (made) => {
      await made.addInitScript(simulateTime, START_MS);
      await made.addInitScript(answer);
    },
  });
  await page.goto(url);
  await page.locator("li.gate").nth(7).waitFor();
  // A gate with large charts and a holder that is looked at cost most.
  await page.locator(".name").first().click();
  const devtools = await page.context().newCDPSession(page);

  const pass = (hours) => page.evaluate(([ms, step]) => globalThis.pass(ms, step), [hours * HOUR_MS, STEP_MS]);
  const measure = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    await devtools.send("HeapProfiler.collectGarbage");
    const { usedSize } = await devtools.send("Runtime.getHeapUsage");
    return { usedSize, nodes: await page.locator("*").count() };
  };

  await pass(FIRST_HOURS);
  const early = await measure();
  await pass(HOURS);
  const late = await measure();
  const answers = await page.evaluate(() => globalThis.answers);
  const shown = await page.locator("#at").innerText();
  await page.context().close();

  const growth = late.usedSize - early.usedSize;
  const figures =
    `${early.usedSize} bytes after ${FIRST_HOURS} h, ${late.usedSize} after ${HOURS} h more, ` +
    `${early.nodes} and ${late.nodes} elements, ${answers} answers`;
  console.log(`note\t${figures}`);
  assert(answers >= (0.99 * (FIRST_HOURS + HOURS) * HOUR_MS) / STEP_MS, `the page asked only ${answers} times`);
  assert(shown !== "", "the page shows no time");
  assert(growth < MOST_GROWTH, `the heap grew by ${growth} bytes, more than ${MOST_GROWTH}: ${figures}`);
  assert(late.nodes - early.nodes < MOST_NODES, `the page has more elements: ${figures}`);
}
