// The page of Penstock.Dashboard. It only reads, and shows what the server says.

import { byId, setHidden, setText } from "./dom.js";
import { duration, plural, timeOfDay } from "./format.js";
import { History } from "./history.js";
import { Feed } from "./feed.js";
import { Gates } from "./gates.js";
import { Vm } from "./vm.js";
import { Tables } from "./tables.js";
import { News } from "./news.js";
import { readColours } from "./charts.js";

// The server's clock may be set back. Points that are older than this would not be shown for long, so all are fetched.
const SET_BACK_MS = 2_000;
const COUNTDOWN_EVERY_MS = 1_000;
const TELL_AGE_MS = 2_000;

const history = new History();
readColours();
const gates = new Gates(history);
const vm = new Vm(history);
const tables = new Tables();
const news = new News(byId("news"));

let lastState = null;
let lastCame = 0;
let nextTry = 0;
let troubleKind = null;
let since = 0;

const feed = new Feed({ since: () => since, onState, onTrouble });

function onState(state) {
  if (lastState && (state.at < lastState.at - SET_BACK_MS || state.node !== lastState.node)) {
    history.clear();
    const stale = since !== 0;
    since = 0;
    lastState = null;
    // This answer lacks the points that come before it.
    if (stale) return setTimeout(() => feed.now());
  }
  since = state.at;
  lastState = state;
  lastCame = performance.now();
  clearTrouble();

  history.add(state.history, state.gates);
  setText(byId("node"), state.node);
  setText(
    byId("about"),
    `OTP ${state.otp} · Elixir ${state.elixir} · Penstock ${state.version} · up ${duration(state.uptime_s * 1000)}`,
  );
  setText(byId("at"), timeOfDay(state.at));
  setText(byId("live"), "Live");
  gates.update(state);
  vm.update(state.vm);
  tables.update(state);
  news.update(state);
  showInTab(state);
}

// A tab that nobody looks at still tells by its title.
function showInTab({ node, gates: list, vm: { pressure } }) {
  const refusing = list.filter((gate) => gate.state === "refusing").length;
  const said = [];
  if (refusing > 0) said.push(`${plural(refusing, "gate refuses", "gates refuse")}`);
  if (pressure !== "normal") said.push(`pressure ${pressure}`);
  const title = [...said, node, "Penstock"].join(" · ");
  if (document.title !== title) document.title = title;
  setIcon(troubleKind ? "lost" : refusing > 0 || pressure === "critical" ? "refusing" : "calm");
}

const ICONS = {
  calm: "%3Ccircle cx='8' cy='8' r='6' fill='%232f6fb3'/%3E",
  refusing: "%3Cpath d='M5 1h6l4 4v6l-4 4H5l-4-4V5z' fill='%23c0271d'/%3E",
  lost: "%3Ccircle cx='8' cy='8' r='5.5' fill='none' stroke='%23888' stroke-width='3'/%3E",
};

function setIcon(name) {
  const link = byId("icon");
  if (link.dataset.name === name) return;
  link.dataset.name = name;
  const open = "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E";
  link.href = `data:image/svg+xml,${open}${ICONS[name]}%3C/svg%3E`;
}

function onTrouble({ kind, said, nextMs }) {
  troubleKind = kind;
  nextTry = performance.now() + nextMs;
  document.documentElement.dataset.trouble = kind;
  setText(byId("live"), lastState ? "Last figures" : "");
  const old = lastState ? ` The figures below are those of ${timeOfDay(lastState.at)}.` : "";
  const texts = {
    lost: `The node does not answer${said ? `: ${said}` : ""}.${old}`,
    token: `The dashboard asks for its token.${old}`,
    busy: `The dashboard is busy with other requests.${old}`,
    refused: `The dashboard does not answer as it should: ${said}${old && `.${old}`}`,
  };
  setText(byId("trouble-text"), texts[kind]);
  setHidden(byId("token-entry"), kind !== "token");
  setHidden(byId("trouble"), false);
  setIcon("lost");
  const lostTitle = `No figures · ${lastState?.node ?? "Penstock"}`;
  if (document.title !== lostTitle) document.title = lostTitle;
  countDown();
}

function clearTrouble() {
  if (troubleKind === null) return;
  troubleKind = null;
  delete document.documentElement.dataset.trouble;
  setHidden(byId("trouble"), true);
}

// Not part of the alert's text, which a screen reader would repeat each second.
function countDown() {
  if (troubleKind === null) return;
  const left = Math.ceil((nextTry - performance.now()) / 1000);
  const age = lastState ? performance.now() - lastCame : 0;
  const aged = age >= TELL_AGE_MS ? `${duration(age)} without figures. ` : "";
  setText(byId("trouble-next"), `${aged}${left > 0 ? `Next try in ${left} s.` : "Trying …"}`);
}
setInterval(countDown, COUNTDOWN_EVERY_MS);

byId("retry").addEventListener("click", () => {
  setText(byId("trouble-next"), "Trying …");
  feed.now();
});

// The server answers this address with a cookie that no script can read.
function openWithToken() {
  const token = byId("token").value;
  if (token !== "") location.assign(`./?token=${encodeURIComponent(token)}`);
}
byId("token-open").addEventListener("click", openWithToken);
byId("token").addEventListener("keydown", (event) => {
  if (event.key === "Enter") openWithToken();
});

const themes = globalThis.penstockTheme;
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const showTheme = () => setText(byId("theme"), `Theme: ${themes.choice()}`);
byId("theme").addEventListener("click", () => themes.choose(NEXT[themes.choice()]));
themes.onChange(() => {
  showTheme();
  readColours();
});
showTheme();

feed.now();
