// Sets the theme before the first paint. Runs as a classic script in the head, so that a dark page never flashes white.
"use strict";

globalThis.penstockTheme = (() => {
  const KEY = "penstock-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];

  // A browser that blocks storage throws. The choice then lasts as long as the page.
  let choice = "auto";
  try {
    choice = localStorage.getItem(KEY) ?? "auto";
  } catch {}
  if (!["auto", "light", "dark"].includes(choice)) choice = "auto";

  function apply() {
    const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = theme;
    for (const listener of listeners) listener();
  }

  dark.addEventListener("change", apply);
  apply();

  return {
    choice: () => choice,
    onChange: (listener) => listeners.push(listener),
    choose(next) {
      choice = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {}
      apply();
    },
  };
})();
