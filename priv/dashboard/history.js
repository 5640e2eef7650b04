// Keeps the curves of the last ten minutes: one point a second, at most POINTS. The arrays are reused for as long as
// the page is open, so that an idle page does not grow.

export const POINTS = 600;
export const SPAN_MS = 600_000;

// After a longer pause, a point without values ends the curve, since nobody knows what was in between.
const PAUSE_MS = 3_500;

// The curves of a gate, and the figures of which they are made.
const FIGURES = { in_use: "in_use", waiting: "waiting", admitted: "admitted_s", refused: "refused_s" };
const SERIES = Object.keys(FIGURES);

export class History {
  t = [];
  // Arrays of the same length as `t`.
  vm = new Map();
  gates = new Map();

  get last() {
    return this.t.length === 0 ? 0 : this.t[this.t.length - 1];
  }

  clear() {
    this.t.length = 0;
    this.vm.clear();
    this.gates.clear();
  }

  // Adds the points of an answer that are new. Forgets gates that the answer does not list.
  //
  // The server keeps the curves of some gates only. The curves of the others begin when the page is opened, from the
  // figures of each answer.
  add(points, gates) {
    const listed = new Map(gates.map((gate) => [gate.id, gate]));
    for (const name of this.gates.keys()) if (!listed.has(name)) this.gates.delete(name);
    for (const name of listed.keys()) if (!this.gates.has(name)) this.#addGate(name);
    for (const name of Object.keys(points.vm)) if (!this.vm.has(name)) this.vm.set(name, this.#unknown());

    const last = this.last;
    let from = points.t.findIndex((t) => t > last);
    if (from < 0) return;
    from = Math.max(from, points.t.length - POINTS);

    if (last > 0 && points.t[from] - last > PAUSE_MS)
      this.#push(
        [last + 1],
        0,
        () => undefined,
        () => undefined,
      );
    this.#push(
      points.t,
      from,
      (name) => points.vm[name],
      (name, series) => {
        if (Object.hasOwn(points.gates, name)) return points.gates[name][series];
        const values = [];
        values[points.t.length - 1] = listed.get(name)[FIGURES[series]];
        return values;
      },
    );
  }

  #addGate(name) {
    this.gates.set(name, Object.fromEntries(SERIES.map((series) => [series, this.#unknown()])));
  }

  #unknown() {
    return this.t.map(() => null);
  }

  #push(t, from, vmValues, gateValues) {
    const drop = Math.max(this.t.length + t.length - from - POINTS, 0);
    const append = (kept, values) => {
      kept.copyWithin(0, drop);
      kept.length = Math.max(kept.length - drop, 0);
      for (let i = from; i < t.length; i++) kept.push(values?.[i] ?? null);
    };

    append(this.t, t);
    for (const [name, kept] of this.vm) append(kept, vmValues(name));
    for (const [name, kept] of this.gates) for (const series of SERIES) append(kept[series], gateValues(name, series));
  }
}

// Returns the least and the greatest value that is known, or null.
export function extent(values) {
  let low = null;
  let high = null;
  for (const value of values) {
    if (value == null) continue;
    if (low === null || value < low) low = value;
    if (high === null || value > high) high = value;
  }
  return low === null ? null : { low, high };
}
