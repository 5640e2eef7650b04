// The headroom of the VM: a bar for each resource, with the shares from which its levels begin.

import { byId, icon, make, reconcile, setAttribute, setHidden, setIcon, setText } from "./dom.js";
import { ofUnit, percent } from "./format.js";
import { Chart, shareSpark } from "./charts.js";

const LEVELS = ["elevated", "high", "critical"];

const LABELS = { ets: "ETS tables", cpu_stall: "CPU stall" };

const spoken = (resource) => LABELS[resource] ?? resource.replaceAll("_", " ");

export class Vm {
  #rows = new Map();
  #history;

  constructor(history) {
    this.#history = history;
    this.icon = icon("normal");
    this.word = make("strong");
    this.because = make("span");
    byId("pressure").append(this.icon, make("span", {}, "Pressure "), this.word, this.because);
  }

  update({ pressure, because, resources }) {
    setAttribute(byId("vm"), "data-level", pressure);
    setIcon(this.icon, pressure);
    setText(this.word, pressure);
    setText(this.because, because.length > 0 ? `because of ${because.map(spoken).join(", ")}` : "");
    const makeRow = (resource) => new ResourceRow(resource, this.#history);
    reconcile(byId("resources"), this.#rows, resources, (resource) => resource.name, makeRow);
  }
}

class ResourceRow {
  #name;
  #history;
  #spark = null;
  #ticks = "";

  constructor({ name }, history) {
    this.#name = name;
    this.#history = history;
    this.icon = icon("normal");
    this.level = make("span.word");
    this.share = make("span.share");
    this.figures = make("span.of");
    this.fill = make("span.fill");
    this.bar = make("span.bar", { "aria-hidden": "true" }, this.fill);
    this.curve = make("span.spark", { "aria-hidden": "true" });
    this.element = make(
      "li.resource",
      {},
      make("span.label", {}, spoken(name)),
      this.share,
      make("span.level", {}, this.icon, this.level),
      this.bar,
      this.curve,
      this.figures,
    );
  }

  update(resource) {
    const { count, limit, used, level, unit, levels } = resource;
    // A resource without levels is shown, but raises no pressure: `config :penstock, vm: [resources: ...]`.
    const watched = levels !== null;
    setAttribute(this.element, "data-level", watched ? level : "none");
    setIcon(this.icon, level);
    this.icon.toggleAttribute("hidden", !watched);
    setText(this.level, watched ? level : "no level");
    setText(this.share, percent(used));
    setText(
      this.figures,
      unit === "percent" ? "stalled, last 10 s" : `${ofUnit(count, unit)} of ${ofUnit(limit, unit)}`,
    );
    const width = `${Math.min(Math.max(used ?? 0, 0), 1) * 100}%`;
    if (this.fill.style.width !== width) this.fill.style.width = width;
    this.#mark(levels ?? []);

    const data = () => [this.#history.t, this.#history.vm.get(this.#name) ?? []];
    if (this.#history.vm.has(this.#name)) {
      this.#spark ??= new Chart(this.curve, data, shareSpark());
      this.#spark.draw();
    }
    setHidden(this.curve, !this.#spark);
  }

  end() {
    this.#spark?.end();
  }

  // Draws a mark at each share from which a level begins.
  #mark(levels) {
    const said = levels.join(" ");
    if (this.#ticks === said) return;
    this.#ticks = said;
    const ticks = levels.map((share) => {
      const tick = make("span.tick");
      tick.style.left = `${share * 100}%`;
      return tick;
    });
    this.bar.replaceChildren(this.fill, ...ticks);
    const words = levels.map((share, i) => `${LEVELS[i]} from ${percent(share)}`);
    setAttribute(this.element, "title", words.length > 0 ? words.join(", ") : null);
  }
}
