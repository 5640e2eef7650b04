// Tells screen readers what changed: which gates began or ceased to refuse, and the pressure. Never more than one text
// in EVERY_MS, since a gate may turn each second.

import { setText } from "./dom.js";

const EVERY_MS = 10_000;
// More gates than this are only counted.
const NAMED = 3;

export class News {
  #element;
  #told = null;
  #toldAt = -EVERY_MS;

  constructor(element) {
    this.#element = element;
  }

  update({ gates, vm }) {
    const now = { refusing: gates.filter((gate) => gate.state === "refusing"), pressure: vm.pressure };
    const ids = new Set(now.refusing.map((gate) => gate.id));
    // The first figures are read with the page.
    if (this.#told === null) this.#told = { ids, pressure: vm.pressure };
    if (performance.now() - this.#toldAt < EVERY_MS) return;

    const began = now.refusing.filter((gate) => !this.#told.ids.has(gate.id));
    const ceased = [...this.#told.ids].filter((id) => !ids.has(id));
    const said = [];
    if (began.length > NAMED) said.push(`${began.length} more gates refuse work.`);
    else for (const gate of began) said.push(`${gate.id} refuses: ${gate.why ?? ""}.`);
    if (ceased.length > NAMED) said.push(`${ceased.length} gates admit work again.`);
    else for (const id of ceased) said.push(`${id} refuses no more.`);
    if (vm.pressure !== this.#told.pressure) said.push(`The pressure of the VM is ${vm.pressure}.`);
    if (said.length === 0) return;

    setText(this.#element, said.join(" "));
    this.#told = { ids, pressure: vm.pressure };
    this.#toldAt = performance.now();
  }
}
