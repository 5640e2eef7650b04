// The list of gates: one row each, those that refuse first.

import { byId, icon, make, reconcile, setAttribute, setHidden, setIcon, setText } from "./dom.js";
import { count, percent, plural, rate } from "./format.js";
import { extent } from "./history.js";
import { Chart, gateSpark } from "./charts.js";
import { Details } from "./details.js";

const WORDS = { refusing: "Refuses", stopped: "Stopped", full: "Full", calm: "Admits" };
const RANK = { refusing: 0, stopped: 1, full: 2, calm: 3 };
const KINDS = {
  pool: "pool",
  keyed_pool: "keyed pool",
  rate_limiter: "rate limiter",
  ban: "ban",
  gate: "gate of several",
};
// A limiter and a gate of several are seen by what they admit, and the others by what is in use.
const SEEN_BY_RATE = ["rate_limiter", "gate"];

// A gate keeps its place for this time after it became better, so that rows do not jump when refusals come in bursts.
const KEEP_PLACE_MS = 10_000;
// No row moves while somebody works in the list.
const QUIET_MS = 5_000;
const FILTER_FROM = 12;
// A narrow page names this number of refusing gates above all else.
const WORST = 3;

// The text of a curve changes each second, and a screen reader that rests on it must not be interrupted.
const DESCRIBE_EVERY_MS = 15_000;

const collator = new Intl.Collator("en", { numeric: true });

export class Gates {
  #rows = new Map();
  #places = new Map();
  #worst = new Map();
  #list = byId("gate-list");
  #filter = byId("filter");
  #history;
  #gates = [];
  #busyUntil = 0;

  constructor(history) {
    this.#history = history;
    this.#filter.addEventListener("input", () => this.#show());
    for (const event of ["pointermove", "keydown", "pointerdown"]) {
      this.#list.addEventListener(event, () => (this.#busyUntil = performance.now() + QUIET_MS), { passive: true });
    }
  }

  update({ gates, left_out: leftOut }) {
    this.#gates = this.#sorted(gates);
    this.#verdict(gates);
    this.#show();
    setHidden(byId("left-out"), !(leftOut > 0));
    if (leftOut > 0) setText(byId("left-out"), `${plural(leftOut, "further gate is", "further gates are")} not shown.`);
  }

  // Opens the details of a gate and moves the focus there. Returns false if the page does not show the gate.
  open(id) {
    if (!this.#gates.some((gate) => gate.id === id)) return false;
    if (!this.#rows.has(id)) {
      this.#filter.value = "";
      this.#show();
    }
    this.#rows.get(id).open();
    return true;
  }

  #sorted(gates) {
    const now = performance.now();
    const busy = now < this.#busyUntil;
    for (const id of this.#places.keys()) if (!gates.some((gate) => gate.id === id)) this.#places.delete(id);
    for (const { id, state } of gates) {
      const rank = RANK[state] ?? RANK.calm;
      const place = this.#places.get(id);
      if (!place) this.#places.set(id, { rank, shown: rank, at: now });
      else if (rank < place.rank) Object.assign(place, { rank, at: now });
      else if (rank === place.rank) place.at = now;
      else if (now - place.at > KEEP_PLACE_MS) Object.assign(place, { rank, at: now });
    }
    if (!busy) for (const place of this.#places.values()) place.shown = place.rank;
    return [...gates].sort(
      (a, b) => this.#places.get(a.id).shown - this.#places.get(b.id).shown || collator.compare(a.id, b.id),
    );
  }

  #verdict(gates) {
    const by = (state) => gates.filter((gate) => gate.state === state).length;
    const refusing = by("refusing");
    setAttribute(byId("summary"), "data-state", refusing > 0 ? "refusing" : by("stopped") > 0 ? "stopped" : "calm");

    let verdict;
    if (gates.length === 0) verdict = "No gate is open";
    else if (refusing === 0) verdict = "No gate refuses work";
    else verdict = `${refusing} of ${plural(gates.length, "gate")} ${refusing === 1 ? "refuses" : "refuse"} work`;
    setText(byId("verdict"), verdict);

    const rest = [
      [by("stopped"), "stopped"],
      [by("full"), "full"],
      [by("calm"), by("calm") === 1 ? "admits" : "admit"],
    ];
    const said = rest.filter(([n]) => n > 0).map(([n, word]) => `${count(n)} ${word}`);
    setText(byId("verdict-more"), said.join(" · "));
    const worst = this.#gates.filter((gate) => gate.state === "refusing").slice(0, WORST);
    reconcile(
      byId("worst"),
      this.#worst,
      worst,
      (gate) => gate.id,
      (gate) => worstRow(gate, (id) => this.open(id)),
    );
  }

  #show() {
    setHidden(byId("filter-row"), this.#gates.length <= FILTER_FROM);
    setHidden(byId("columns"), this.#gates.length === 0);
    const wanted = this.#gates.length <= FILTER_FROM ? "" : this.#filter.value.trim().toLowerCase();
    const shown = wanted === "" ? this.#gates : this.#gates.filter((gate) => gate.id.toLowerCase().includes(wanted));
    setText(
      byId("filter-count"),
      wanted === "" ? "" : `${plural(shown.length, "gate")} of ${count(this.#gates.length)}`,
    );
    const keyOf = (gate) => gate.id;
    reconcile(this.#list, this.#rows, shown, keyOf, (gate) => new GateRow(gate, this.#history, (id) => this.open(id)));
  }
}

// Returns how much of a gate is in use: a figure, and what it counts. The bar shows the share that `used` has.
function use({ kind, in_use: inUse, limit, limits, figures, used }) {
  const counted = (n, one) => [count(n), n === 1 ? one : `${one}s`];
  switch (kind) {
    case "pool":
      return [`${count(inUse)} / ${count(limit)}`, ""];
    case "ban":
      return counted(inUse, "ban");
    case "gate":
      return counted(limits?.length ?? 0, "limit");
    default: {
      const keys = figures.find(([label]) => label === "keys");
      return keys ? counted(keys[1], "key") : [percent(used), "of keys"];
    }
  }
}

function worstRow({ id }, open) {
  const why = make("span");
  const button = make("button.link", { type: "button" }, make("bdi", {}, id));
  button.addEventListener("click", () => open(id));
  return { element: make("li", {}, button, " ", why), update: (gate) => setText(why, gate.why ?? "") };
}

let rowsMade = 0;

class GateRow {
  #id;
  #history;
  #openOther;
  #state = null;
  #gate;
  #spark = null;
  #details = null;
  #described = -DESCRIBE_EVERY_MS;

  constructor(gate, history, openOther) {
    this.#id = gate.id;
    this.#gate = gate;
    this.#history = history;
    this.#openOther = openOther;
    rowsMade += 1;
    const detailsId = `gate-${rowsMade}`;

    this.name = make("bdi", {}, gate.id);
    this.button = make(
      "button.name",
      { type: "button", "aria-expanded": "false", "aria-controls": detailsId },
      icon("chevron"),
      this.name,
    );
    this.button.addEventListener("click", () => this.#toggle());
    this.stateIcon = icon("calm");
    this.stateWord = make("span.word");
    this.kind = make("span.kind");
    this.why = make("p.why");
    this.fill = make("span.fill");
    this.bar = make("span.bar", { "aria-hidden": "true" }, this.fill);
    this.used = make("span.figure");
    this.usedMore = make("span.more");
    this.curve = make("div.spark", { role: "img" });
    this.admitted = make("dd");
    this.refused = make("dd");
    this.waiting = make("dd");
    this.details = make("div.details", { id: detailsId, hidden: true });

    this.element = make(
      "li.gate",
      {},
      make("h3", {}, this.button),
      make("p.state", {}, this.stateIcon, this.stateWord, this.kind),
      make("p.use", {}, make("span.unseen", {}, "In use: "), this.used, this.usedMore, this.bar),
      this.curve,
      make(
        "dl.rates",
        {},
        make("div", {}, make("dt", {}, "admitted/s"), this.admitted),
        make("div.refused", {}, make("dt", {}, "refused/s"), this.refused),
        make("div", {}, make("dt", {}, "waiting"), this.waiting),
      ),
      this.why,
      this.details,
    );
  }

  update(gate) {
    this.#gate = gate;
    if (this.#state !== gate.state) this.#turn(gate.state);
    const kind = KINDS[gate.kind] ?? gate.kind;
    setText(this.kind, gate.status === "open" ? kind : `${kind}, ${gate.status}`);
    setText(this.why, gate.why ?? "");
    setHidden(this.why, !gate.why);
    this.#updateUse(gate);
    setText(this.admitted, rate(gate.admitted_s));
    setText(this.refused, rate(gate.refused_s));
    setAttribute(this.refused, "data-some", gate.refused_s > 0 ? "" : null);
    setText(this.waiting, count(gate.waiting));
    setAttribute(this.waiting, "data-some", gate.waiting > 0 ? "" : null);

    this.#spark ??= new Chart(
      this.curve,
      () => this.#curves(),
      gateSpark(() => this.#limit()),
    );
    this.#spark.draw();
    this.#describe();
    this.#details?.update(gate);
  }

  open() {
    if (!this.#details) this.#toggle();
    this.button.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  end() {
    this.#spark?.end();
    this.#details?.end();
  }

  #turn(state) {
    const turned = this.#state !== null;
    this.#state = state;
    setAttribute(this.element, "data-state", state);
    setIcon(this.stateIcon, state);
    setText(this.stateWord, WORDS[state] ?? state);
    // Restarts the animation of a row that turns again.
    this.element.classList.remove("turned");
    if (turned) requestAnimationFrame(() => this.element.classList.add("turned"));
  }

  #updateUse(gate) {
    const { used } = gate;
    const [figure, more] = use(gate);
    setText(this.used, figure);
    setText(this.usedMore, more);
    setHidden(this.bar, used == null);
    const width = `${Math.min(Math.max(used ?? 0, 0), 1) * 100}%`;
    if (this.fill.style.width !== width) this.fill.style.width = width;
  }

  #limit() {
    return this.#gate.kind === "pool" ? this.#gate.limit : null;
  }

  #curves() {
    const points = this.#history.gates.get(this.#id);
    if (!points) return [[], [], []];
    return [this.#history.t, SEEN_BY_RATE.includes(this.#gate.kind) ? points.admitted : points.in_use, points.refused];
  }

  #describe() {
    const now = performance.now();
    if (now - this.#described < DESCRIBE_EVERY_MS) return;
    this.#described = now;
    const [, use, refused] = this.#curves();
    const what = SEEN_BY_RATE.includes(this.#gate.kind) ? "admitted a second" : "in use";
    const range = extent(use);
    const most = extent(refused)?.high ?? 0;
    const said = range === null ? "no figures yet" : `${what} ${rate(range.low)} to ${rate(range.high)}`;
    setAttribute(this.curve, "aria-label", `Last 10 minutes: ${said}, at most ${rate(most)} refused a second`);
  }

  #toggle() {
    const open = !this.#details;
    setAttribute(this.button, "aria-expanded", String(open));
    setHidden(this.details, !open);
    if (open) {
      this.#details = new Details(this.details, this.#gate, this.#history, this.#openOther);
    } else {
      this.#details.end();
      this.#details = null;
      this.details.replaceChildren();
    }
  }
}
