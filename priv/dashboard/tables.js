// The tables below the gates: holders, keys, bans, and on demand the creators of processes.

import { byId, make, reconcile, setHidden, setText } from "./dom.js";
import { NONE, bytes, count, duration, rate } from "./format.js";
import { askOnce } from "./feed.js";

const HOLDER_TIMEOUT_MS = 5_000;
const SPAWNERS_MS = 2_000;
// The answer comes after the time of the trace, and some for the count of what is alive.
const SPAWNERS_TIMEOUT_MS = 15_000;
const PROGRESS_EVERY_MS = 100;

class Table {
  #rows = new Map();
  #section;
  #keyOf;
  #makeRow;

  constructor(id, keyOf, makeRow) {
    this.#section = byId(id);
    this.#keyOf = keyOf;
    this.#makeRow = makeRow;
  }

  get rows() {
    return this.#rows;
  }

  update(items) {
    reconcile(this.#section.querySelector("table"), this.#rows, items, this.#keyOf, this.#makeRow);
    setHidden(this.#section.querySelector(".table"), items.length === 0);
    const none = this.#section.querySelector(".none");
    if (none) setHidden(none, items.length > 0);
  }
}

// Makes a cell. A narrow page has no room for a head, and shows the label in each cell.
function cell(label, kind, ...children) {
  const element = make(kind ? `td.${kind}` : "td", {}, ...children);
  if (label) element.dataset.label = label;
  return element;
}

// Returns a maker of rows. A column is `[text of an item, class, label]`.
function plainRow(columns) {
  return () => {
    const cells = columns.map(([, kind, label]) => cell(label, kind, make("bdi")));
    const element = make("tbody", {}, make("tr", {}, ...cells));
    const update = (item) => columns.forEach(([text], i) => setText(cells[i].firstChild, text(item)));
    return { element, update };
  };
}

const keyOfParts = (...parts) => JSON.stringify(parts);

export class Tables {
  #holders = new Table(
    "holders",
    (row) => keyOfParts(row.gate, row.pid),
    (row) => new HolderRow(row),
  );
  #keys = new Table(
    "keys",
    (row) => keyOfParts(row.gate, row.key),
    plainRow([
      [(row) => row.key, "code"],
      [(row) => row.gate, "code", "gate"],
      [(row) => count(row.permits), "n", "permits"],
      [(row) => count(row.waiting), "n", "waiting"],
    ]),
  );
  #bans = new Table(
    "bans",
    (row) => keyOfParts(row.gate, row.key),
    plainRow([
      [(row) => row.key, "code"],
      [(row) => row.gate, "code", "gate"],
      [(row) => (row.until_ms == null ? "never" : duration(row.until_ms)), "", "ends in"],
      [(row) => row.reason ?? NONE, "code", "reason"],
      [(row) => count(row.level), "n", "level"],
    ]),
  );

  constructor() {
    new Spawners();
  }

  update({ holders, keys, bans }) {
    const listed = new Set(holders.map((row) => keyOfParts(row.gate, row.pid)));
    // Somebody reads about this process: it stays, though it has released its permits.
    const left = [...this.#holders.rows.values()].filter(
      (row) => row.isOpen && !listed.has(keyOfParts(row.item.gate, row.item.pid)),
    );
    this.#holders.update([...holders, ...left.map((row) => ({ ...row.item, left: true }))]);
    this.#keys.update(distinct(keys, (row) => keyOfParts(row.gate, row.key)));
    this.#bans.update(distinct(bans, (row) => keyOfParts(row.gate, row.key)));
  }
}

// Two long keys may be shown by the same text, since a text is cut. The first stands for both.
function distinct(items, keyOf) {
  const seen = new Set();
  return items.filter((item) => !seen.has(keyOf(item)) && seen.add(keyOf(item)));
}

const QUESTION = "What does it do now?";

let holdersMade = 0;

class HolderRow {
  isOpen = false;

  constructor(item) {
    holdersMade += 1;
    this.item = item;
    const id = `holder-${holdersMade}`;
    this.held = cell("", "held");
    this.permits = cell("permits", "n");
    this.question = make("span", {}, QUESTION);
    const button = { type: "button", "aria-expanded": "false", "aria-controls": id };
    // Twenty buttons of one name would be told apart by eye only.
    this.button = make("button", button, this.question, make("span.unseen", {}, ` ${item.pid}`));
    this.button.addEventListener("click", () => this.#toggle());
    this.answer = make("div", { id, role: "status" });
    this.more = make("tr.more", { hidden: true }, make("td", { colSpan: 5 }, this.answer));
    this.element = make(
      "tbody",
      {},
      make(
        "tr",
        {},
        this.held,
        cell("process", "code", item.pid),
        cell("gate", "code", make("bdi", {}, item.gate)),
        this.permits,
        cell("", "end", this.button),
      ),
      this.more,
    );
  }

  update(item) {
    this.item = item;
    setText(this.held, item.left ? "released" : duration(item.held_ms));
    setText(this.permits, count(item.left ? 0 : item.permits));
  }

  async #toggle() {
    this.isOpen = !this.isOpen;
    this.button.setAttribute("aria-expanded", String(this.isOpen));
    setText(this.question, this.isOpen ? "Close" : QUESTION);
    setHidden(this.more, !this.isOpen);
    if (!this.isOpen) return;

    setText(this.answer, "Asking …");
    const { ok, error } = await askOnce(`holder?pid=${encodeURIComponent(this.item.pid)}`, HOLDER_TIMEOUT_MS);
    if (error) setText(this.answer, error);
    else if (!ok.alive) setText(this.answer, "This process has ended.");
    else this.answer.replaceChildren(...describe(ok));
  }
}

function describe(process) {
  const pairs = [
    ["runs now", process.current],
    ["started as", process.initial_call],
    ["name", process.name],
    ["status", process.status],
    ["messages", count(process.messages)],
    ["memory", bytes(process.memory)],
    ["reductions", count(process.reductions)],
  ];
  const known = pairs.filter(([, value]) => value != null);
  const list = make(
    "dl.figures",
    {},
    ...known.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, make("bdi", {}, value)))),
  );
  if (!process.stack?.length) return [list];
  const calls = process.stack.map((line) => make("li", {}, make("bdi", {}, line)));
  return [list, make("ol.stack", { "aria-label": "Stack, innermost call first" }, ...calls)];
}

class Spawners {
  #table = new Table(
    "spawners",
    (row) => keyOfParts(row.mfa, row.by),
    plainRow([
      [(row) => row.mfa ?? NONE, "code"],
      [(row) => row.by ?? NONE, "code", "created by"],
      [(row) => count(row.spawned), "n", "created"],
      [(row) => rate(row.per_second), "n", "per second"],
      [(row) => count(row.alive), "n", "still alive"],
    ]),
  );

  constructor() {
    byId("spawners-start").addEventListener("click", () => this.#trace());
  }

  async #trace() {
    const button = byId("spawners-start");
    // A disabled button would lose the focus.
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    const progress = byId("spawners-progress");
    setHidden(progress, false);
    setText(byId("spawners-said"), "Tracing …");
    const started = performance.now();
    const timer = setInterval(() => (progress.value = (performance.now() - started) / SPAWNERS_MS), PROGRESS_EVERY_MS);

    const { ok, error } = await askOnce(`spawners?ms=${SPAWNERS_MS}`, SPAWNERS_TIMEOUT_MS);

    clearInterval(timer);
    progress.value = 0;
    setHidden(progress, true);
    button.removeAttribute("aria-disabled");
    if (error) return setText(byId("spawners-said"), error);
    const n = ok.rows.reduce((sum, row) => sum + row.spawned, 0);
    setText(byId("spawners-said"), n === 0 ? "No process was created." : `${count(n)} created in ${duration(ok.ms)}.`);
    this.#table.update(distinct(ok.rows, (row) => keyOfParts(row.mfa, row.by)));
  }
}
