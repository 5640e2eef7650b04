// Looks at how the page asks for the state, without a browser, of servers that misbehave. Takes the place of `document`
// and `fetch`, so it is imported when no browser runs any more.

import { createServer } from "node:http";
import { assert, check } from "./harness.mjs";

const TIMEOUT_MS = 5_000;
const PATIENCE_MS = 10_000;

// The servers, by the instant that their feed asks for.
const servers = new Map();

const realFetch = globalThis.fetch;
globalThis.document = { hidden: false, addEventListener() {} };
globalThis.addEventListener = () => {};
// A feed whose check is over gets no answer, so it asks no more.
globalThis.fetch = (path, { signal }) =>
  servers.has(path) ? realFetch(servers.get(path) + path, { signal }) : new Promise(() => {});

const { Feed } = await import("../../../priv/dashboard/feed.js");

// Calls `test(heard)` with a feed that asks a server which answers by `serve`. `heard(n)` returns the first `n` entries
// that the feed has told: their kind, which is "state" or that of a trouble, and the ms since the start.
async function withFeed(serve, onState, test) {
  const server = createServer(serve);
  await new Promise((listens) => server.listen(0, "127.0.0.1", listens));
  const { port } = server.address();
  const path = `state?since=${port}`;
  servers.set(path, `http://127.0.0.1:${port}/`);

  const told = [];
  let wake = () => {};
  const started = performance.now();
  const tell = (entry) => {
    told.push({ ...entry, ms: performance.now() - started });
    wake();
  };
  const heard = async (n) => {
    let fault = null;
    const late = setTimeout(() => {
      fault = new Error(`heard only ${JSON.stringify(told)}`);
      wake();
    }, PATIENCE_MS);
    while (told.length < n && !fault) await new Promise((resolve) => (wake = resolve));
    clearTimeout(late);
    if (fault) throw fault;
    return told.slice(0, n);
  };

  try {
    const show = (state) => {
      tell({ kind: "state" });
      onState(state);
    };
    new Feed({ since: () => port, onState: show, onTrouble: tell }).now();
    await test(heard);
  } finally {
    servers.delete(path);
    server.closeAllConnections();
    server.close();
  }
}

function json(response, text, length = text.length) {
  response.writeHead(200, { "content-type": "application/json", "content-length": length });
  response.write(text);
}

export async function checkFeed() {
  await check("a body that does not end is given up in time", () =>
    withFeed(
      (_, response) => json(response, '{"at":1', 1_000),
      () => {},
      async (heard) => {
        const [trouble] = await heard(1);
        assert(trouble.kind === "lost" && trouble.said === "no answer in 5 s", JSON.stringify(trouble));
        assert(trouble.ms >= TIMEOUT_MS - 100, `it is given up after ${trouble.ms} ms`);
      },
    ),
  );

  await check("an answer that the page cannot show is told, and the page asks again", () => {
    let shown = 0;
    return withFeed(
      (_, response) => response.end("{}"),
      () => {
        shown += 1;
        if (shown === 1) throw new Error("an expected fault");
      },
      async (heard) => {
        const kinds = (await heard(3)).map(({ kind }) => kind);
        assert(kinds.join() === "state,refused,state", kinds.join());
      },
    );
  });

  await check("an answer that is no JSON is told", () =>
    withFeed(
      (_, response) => response.end("<p>a proxy"),
      () => {},
      async (heard) => {
        const [{ kind, said }] = await heard(1);
        assert(kind === "refused" && said.includes("not that of a dashboard"), said);
      },
    ),
  );
}
