// Makes and updates elements. All text of the server goes through text nodes, so that no name or key is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// These characters reverse or hide the text around them, so that one name can look like another.
const DECEPTIVE = /[\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function visible(text) {
  return text.replace(DECEPTIVE, (c) => `\\u${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
}

// Makes an element. The name may have classes: "p.why". A string among the children becomes a text node.
export function make(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

// Writes only what differs, since each write costs a layout, and some screen readers speak it.
export function setText(element, text) {
  text = visible(String(text ?? ""));
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

// Each icon has an outline of its own, because colour alone must not tell states apart.
const ICONS = {
  calm: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z", "M5.5 8.2l1.8 1.8l3.4-3.8"],
  full: ["M3 3h10v10h-10z"],
  refusing: ["M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8h-5.4l-3.8-3.8v-5.4z", "M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4"],
  stopped: ["M4 3h2.6v10h-2.6z", "M9.4 3h2.6v10h-2.6z"],
  normal: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z", "M5.5 8.2l1.8 1.8l3.4-3.8"],
  elevated: ["M3 10.5l5-5l5 5"],
  high: ["M3 8.5l5-5l5 5", "M3 13l5-5l5 5"],
  critical: ["M8 1.5l7 12.5h-14z", "M8 6v4M8 11.6v.9"],
  chevron: ["M6 3.5l4.5 4.5l-4.5 4.5"],
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  setIcon(svg, name);
  return svg;
}

export function setIcon(svg, name) {
  if (svg.dataset.icon === name) return;
  svg.dataset.icon = name;
  const paths = (ICONS[name] ?? ICONS.calm).map((d) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    return path;
  });
  svg.replaceChildren(...paths);
}

// Makes the children of `parent` those of `items`, in their order. `rows` is a Map from key to row, which lives on
// from call to call. A row has an `element`, an `update(item)`, and maybe an `end()`.
export function reconcile(parent, rows, items, keyOf, makeRow) {
  const keys = new Set(items.map(keyOf));
  for (const [key, row] of rows) {
    if (keys.has(key)) continue;
    row.end?.();
    row.element.remove();
    rows.delete(key);
  }

  // A move takes the focus away from an element.
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  let moved = false;
  // The rows of a table are bodies, below its caption and head.
  let next = parent.tBodies ? (parent.tBodies[0] ?? null) : parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = rows.get(key);
    if (!row) rows.set(key, (row = makeRow(item)));
    row.update(item);
    if (row.element === next) {
      next = next.nextElementSibling;
    } else {
      moved ||= row.element.contains(focused);
      parent.insertBefore(row.element, next);
    }
  }
  if (moved) focused.focus({ preventScroll: true });
}
