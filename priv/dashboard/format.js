// Writes figures as text. A figure that is null is unknown, or has no bound.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

// U+202F, a narrow space that does not break, stands between a number and its unit.
const GAP = "\u202f";
export const NONE = "–";

export function count(n) {
  return n == null ? NONE : whole.format(n);
}

export function rate(n) {
  if (n == null) return NONE;
  if (n === 0) return "0";
  return n >= 9.95 ? whole.format(n) : tenth.format(Math.max(n, 0.1));
}

// Never says 100 % of what is not full, nor 0 % of what is in use.
export function percent(share) {
  if (share == null) return NONE;
  const n = share * 100;
  if (n > 0 && n < 1) return `<1${GAP}%`;
  return `${whole.format(n < 100 ? Math.min(Math.round(n), 99) : Math.round(n))}${GAP}%`;
}

export function bytes(n) {
  if (n == null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? whole.format(n) : tenth.format(n)}${GAP}${units[at]}`;
}

export function duration(ms) {
  if (ms == null) return NONE;
  const s = Math.floor(ms / 1000);
  if (s < 1) return `${whole.format(ms)}${GAP}ms`;
  if (s < 60) return `${s}${GAP}s`;
  if (s < 3600) return `${Math.floor(s / 60)}${GAP}min ${s % 60}${GAP}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}${GAP}h ${Math.floor((s % 3600) / 60)}${GAP}min`;
  return `${whole.format(Math.floor(s / 86_400))}${GAP}d ${Math.floor((s % 86_400) / 3600)}${GAP}h`;
}

export function ofUnit(n, unit) {
  if (unit === "bytes") return bytes(n);
  if (unit === "percent") return n == null ? NONE : `${whole.format(n)}${GAP}%`;
  return count(n);
}

export function timeOfDay(ms) {
  return clock.format(ms);
}

export function hourAndMinute(ms) {
  return minute.format(ms);
}

// Returns "1 gate" or "2 gates".
export function plural(n, one, many = `${one}s`) {
  return `${whole.format(n)} ${n === 1 ? one : many}`;
}
