// Draws curves with uPlot. A chart exists only while it is in view, so that hundreds of gates cost as much as those on
// the screen.

import { SPAN_MS } from "./history.js";
import { hourAndMinute } from "./format.js";

const { uPlot } = globalThis;

// Charts that are this near to the view are drawn, so that scrolling shows no empty ones.
const MARGIN = "200px";

let colours = null;

// Canvas needs the values of the colours, which the style sheet has as properties of the theme.
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  colours = Object.fromEntries(
    ["ink", "soft", "line", "use", "use-fill", "refused", "refused-fill", "waiting", "admitted"].map((name) => [
      name,
      get(name),
    ]),
  );
  for (const chart of Chart.inView) chart.rebuild();
}

const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) Chart.of.get(entry.target)?.show(entry.isIntersecting);
  },
  { rootMargin: MARGIN },
);

const resizes = new ResizeObserver((entries) => {
  for (const entry of entries) Chart.of.get(entry.target)?.resize();
});

export class Chart {
  static of = new WeakMap();
  static inView = new Set();

  #element;
  #options;
  #data;
  #plot = null;

  // `data` returns the arrays of uPlot, times first. `options(colours)` returns its options without the size.
  constructor(element, data, options) {
    this.#element = element;
    this.#data = data;
    this.#options = options;
    Chart.of.set(element, this);
    observer.observe(element);
    resizes.observe(element);
  }

  // Draws the data as they are now, if the chart is in view.
  draw() {
    if (this.#plot) this.#plot.setData(this.#data());
  }

  show(inView) {
    if (!inView) return this.#drop();
    Chart.inView.add(this);
    if (!this.#plot) this.rebuild();
  }

  rebuild() {
    this.#plot?.destroy();
    this.#plot = null;
    const { width, height } = this.#size();
    if (width > 0) this.#plot = new uPlot({ ...this.#options(colours), width, height }, this.#data(), this.#element);
  }

  resize() {
    if (!this.#plot) return Chart.inView.has(this) ? this.rebuild() : undefined;
    const { width, height } = this.#size();
    if (width > 0 && (width !== this.#plot.width || height !== this.#plot.height))
      this.#plot.setSize({ width, height });
  }

  end() {
    this.#drop();
    observer.unobserve(this.#element);
    resizes.unobserve(this.#element);
  }

  #drop() {
    Chart.inView.delete(this);
    this.#plot?.destroy();
    this.#plot = null;
  }

  #size() {
    return { width: this.#element.clientWidth, height: this.#element.clientHeight };
  }
}

// The newest point is always at the right edge.
const lastTenMinutes = (u) => {
  const t = u.data[0];
  const last = t.length === 0 ? Date.now() : t[t.length - 1];
  return [last - SPAN_MS, last];
};

const bare = {
  ms: 1,
  padding: [1, 0, 1, 0],
  legend: { show: false },
  cursor: { show: false },
  axes: [{ show: false }, { show: false }],
};

const noPoints = { show: false };

// A curve as small as a word, of a share from 0 to 1.
export function shareSpark() {
  return (c) => ({
    ...bare,
    scales: { x: { time: true, range: lastTenMinutes }, y: { range: [0, 1] } },
    series: [{}, { stroke: c.use, width: 1.25, fill: c["use-fill"], points: noPoints }],
  });
}

// The small picture of a gate: above its use, or what it admits, below what it refuses. The two have scales of their
// own, since one is a number of permits and the other a rate.
export function gateSpark(limit) {
  const top = (high) => Math.max(limit() ?? 0, high ?? 0, 1);
  return (c) => ({
    ...bare,
    scales: {
      x: { time: true, range: lastTenMinutes },
      y: { range: (u, low, high) => [-0.5 * top(high), top(high) * 1.04] },
      refused: { range: (u, low, high) => [0, 3.4 * Math.max(high ?? 0, 1)] },
    },
    axes: [{ show: false }, { show: false }, { show: false, scale: "refused" }],
    series: [
      {},
      { stroke: c.use, width: 1.5, fill: c["use-fill"], fillTo: () => 0, points: noPoints },
      // Without a stroke, a gate that refuses nothing has no red line.
      {
        scale: "refused",
        width: 0,
        fill: c.refused,
        paths: uPlot.paths.stepped({ align: -1 }),
        points: noPoints,
      },
    ],
  });
}

// A chart with axes. `lines` are `{colour, fill, dash, stepped}`; `onCursor` gets the index below the pointer, or null.
export function largeChart(lines, { top = () => 1, format, onCursor }) {
  return (c) => {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: c.soft, font, ticks: { show: false }, grid: { stroke: c.line, width: 1 } };
    return {
      ms: 1,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      hooks: { setCursor: [(u) => onCursor(u.cursor.idx ?? null)] },
      scales: {
        x: { time: true, range: lastTenMinutes },
        y: { range: (u, low, high) => [0, Math.max(top() ?? 0, high ?? 0, 1) * 1.05] },
      },
      axes: [
        {
          ...axis,
          incrs: [60_000, 120_000, 300_000],
          space: 64,
          size: 26,
          grid: { show: false },
          values: (u, splits) => splits.map(hourAndMinute),
        },
        { ...axis, size: 54, space: 32, values: (u, splits) => splits.map(format) },
      ],
      series: [
        {},
        ...lines.map(({ colour, fill, dash, stepped }) => ({
          stroke: c[colour],
          width: 1.5,
          fill: fill && c[fill],
          dash,
          paths: stepped ? uPlot.paths.stepped({ align: -1 }) : undefined,
          points: noPoints,
        })),
      ],
    };
  };
}
