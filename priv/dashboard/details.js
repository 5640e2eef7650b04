// The details of one gate, made when somebody opens them: large curves, figures, reasons, and the limits of a gate.

import { icon, make, reconcile, setText } from "./dom.js";
import { NONE, count, hourAndMinute, rate, timeOfDay } from "./format.js";
import { extent } from "./history.js";
import { Chart, largeChart } from "./charts.js";

const MINUTE_MS = 60_000;
// The table of minutes is as old as this at most while it is open.
const TABLE_EVERY = 10;

const COUNTED = { pool: "Permits", keyed_pool: "Permits of all keys", ban: "Bans" };

export class Details {
  #gate;
  #history;
  #charts = [];
  #readouts = [];
  #reasons = new Map();
  #figures = new Map();
  #updates = 0;
  #limitValues = [];

  constructor(parent, gate, history, openOther) {
    this.#gate = gate;
    this.#history = history;

    const charts = make("div.charts");
    if (gate.in_use != null || gate.waiting != null) charts.append(this.#useChart());
    charts.append(this.#rateChart());

    this.reasonList = make("ul.reasons");
    this.noReason = make("p.quiet", {}, "Nothing was refused in the last second.");
    this.figureList = make("dl.figures");
    this.table = make("tbody");
    this.minutes = make(
      "details.minutes",
      {},
      make("summary", {}, "The curves as a table"),
      make(
        "div.table",
        {},
        make(
          "table",
          {},
          make("caption.unseen", {}, `The last ten minutes of ${gate.id}`),
          make(
            "thead",
            {},
            make(
              "tr",
              {},
              ...["Minute", "In use", "Waiting", "Admitted/s", "Refused/s"].map((text, i) =>
                make(i === 0 ? "th" : "th.n", { scope: "col" }, text),
              ),
            ),
          ),
          this.table,
        ),
      ),
    );
    this.minutes.addEventListener("toggle", () => this.#fillTable());

    const side = make("div.side", {}, make("div", {}, make("h4", {}, "Refused now"), this.noReason, this.reasonList));
    if (gate.limits?.length > 0) side.append(limitLinks(gate.limits, openOther));
    side.append(make("div", {}, make("h4", {}, "Figures"), this.figureList));
    parent.replaceChildren(charts, side, this.minutes);
    this.update(gate);
  }

  update(gate) {
    this.#gate = gate;
    for (const chart of this.#charts) chart.draw();
    for (const readout of this.#readouts) readout();

    const reasons = Object.entries(gate.reasons ?? {}).sort((a, b) => b[1] - a[1]);
    this.noReason.hidden = reasons.length > 0;
    reconcile(
      this.reasonList,
      this.#reasons,
      reasons,
      ([name]) => name,
      pairRow("li", "code", (n) => `${rate(n)}/s`),
    );
    reconcile(this.figureList, this.#figures, gate.figures ?? [], ([name]) => name, figureRow);

    this.#updates += 1;
    if (this.minutes.open && this.#updates % TABLE_EVERY === 0) this.#fillTable();
  }

  end() {
    for (const chart of this.#charts) chart.end();
  }

  #points() {
    return this.#history.gates.get(this.#gate.id);
  }

  #useChart() {
    const waiting = {
      label: "waiting",
      colour: "waiting",
      dash: [4, 3],
      values: (points) => points.waiting,
      text: count,
    };
    const limit = { label: "limit", colour: "ink", dash: [1, 3], values: () => this.#limits(), text: count };
    return this.#chart(
      COUNTED[this.#gate.kind] ?? "In use",
      [
        { label: "in use", colour: "use", fill: "use-fill", values: (points) => points.in_use, text: count },
        ...(this.#gate.waiting == null ? [] : [waiting]),
        ...(this.#limit() == null ? [] : [limit]),
      ],
      { top: () => this.#limit(), format: (n) => count(n) },
    );
  }

  #rateChart() {
    return this.#chart(
      "Each second",
      [
        {
          label: "refused",
          colour: "refused",
          fill: "refused-fill",
          stepped: true,
          values: (points) => points.refused,
          text: rate,
        },
        { label: "admitted", colour: "admitted", values: (points) => points.admitted, text: rate },
      ],
      { format: (n) => (n >= 10 ? count(n) : String(n)) },
    );
  }

  #chart(title, lines, options) {
    const values = lines.map(() => make("span.figure"));
    const at = make("span.at");
    const legend = make(
      "p.legend",
      {},
      ...lines.map((line, i) => make("span", {}, make(`i.swatch.${line.colour}`), `${line.label} `, values[i])),
      at,
    );

    const element = make("div.large", {
      role: "img",
      "aria-label": `${title}, a curve of the last ten minutes. The table below has its values.`,
    });
    let pointed = null;
    const readout = () => {
      const points = this.#points();
      const t = this.#history.t;
      const i = pointed ?? t.length - 1;
      lines.forEach((line, n) => setText(values[n], points ? line.text(line.values(points)[i]) : NONE));
      setText(at, pointed === null || t[i] === undefined ? "now" : `at ${timeOfDay(t[i])}`);
    };
    const data = () => {
      const points = this.#points();
      return points ? [this.#history.t, ...lines.map((line) => line.values(points))] : [[], ...lines.map(() => [])];
    };
    const onCursor = (index) => {
      pointed = index;
      readout();
    };
    this.#charts.push(new Chart(element, data, largeChart(lines, { ...options, onCursor })));
    this.#readouts.push(readout);
    return make("figure", {}, make("figcaption", {}, make("h4", {}, title), legend), element);
  }

  #limit() {
    return this.#gate.kind === "pool" ? this.#gate.limit : null;
  }

  // The limit as a curve: a line at its present height.
  #limits() {
    const values = this.#limitValues;
    const n = this.#history.t.length;
    if (values.length !== n || values[0] !== this.#limit()) {
      values.length = n;
      values.fill(this.#limit());
    }
    return values;
  }

  #fillTable() {
    const points = this.#points();
    if (!this.minutes.open || !points) return;
    const { t } = this.#history;
    const rows = [];
    for (let from = 0; from < t.length;) {
      const minute = Math.floor(t[from] / MINUTE_MS);
      let to = from;
      while (to < t.length && Math.floor(t[to] / MINUTE_MS) === minute) to += 1;
      const range = (values, text) => {
        const found = extent(values.slice(from, to));
        if (found === null) return NONE;
        return found.low === found.high ? text(found.low) : `${text(found.low)}–${text(found.high)}`;
      };
      const cells = [
        range(points.in_use, count),
        range(points.waiting, count),
        range(points.admitted, rate),
        range(points.refused, rate),
      ];
      rows.unshift(
        make(
          "tr",
          {},
          make("th", { scope: "row" }, hourAndMinute(t[from])),
          ...cells.map((text) => make("td.n", {}, text)),
        ),
      );
      from = to;
    }
    this.table.replaceChildren(...rows);
  }
}

// Returns a maker of rows for pairs of a name and a value.
function pairRow(tag, nameTag, text) {
  return ([name]) => {
    const value = make("span.figure");
    const element = make(tag, {}, make(nameTag, {}, name), " ", value);
    return { element, update: ([, n]) => setText(value, text(n)) };
  };
}

function figureRow([name]) {
  const value = make("dd");
  const element = make("div", {}, make("dt", {}, name), value);
  return {
    element,
    update: ([, figure]) => setText(value, typeof figure === "number" ? number(figure) : (figure ?? NONE)),
  };
}

function number(figure) {
  return Number.isInteger(figure) ? count(figure) : rate(figure);
}

function limitLinks(limits, openOther) {
  const items = limits.map((id) => {
    const button = make("button.link", { type: "button" }, make("bdi", {}, id), icon("chevron"));
    const said = make("span.quiet", { role: "status" });
    button.addEventListener("click", () => {
      if (!openOther(id)) setText(said, " is not shown on this page");
    });
    return make("li", {}, button, said);
  });
  return make(
    "div",
    {},
    make("h4", {}, "Its limits, in the order in which it asks them"),
    make("ul.limits", {}, ...items),
  );
}
