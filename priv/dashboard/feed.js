// Asks the server for the state once a second, and says what is wrong when no answer comes.

const EVERY_MS = 1_000;
// Nobody looks at a hidden tab, but its title still shows how many gates refuse.
const HIDDEN_MS = 15_000;
const TIMEOUT_MS = 5_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 15_000;

export class Feed {
  #since;
  #onState;
  #onTrouble;
  #timer = null;
  #running = null;
  #failures = 0;

  // `since` returns the time of the newest point that the page has. `onTrouble` is called with a
  // `{kind, said, nextMs}`, where the kind is "lost", "token", "busy" or "refused".
  constructor({ since, onState, onTrouble }) {
    this.#since = since;
    this.#onState = onState;
    this.#onTrouble = onTrouble;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.now();
    });
    addEventListener("online", () => this.now());
  }

  // Asks at once, unless a question is under way.
  now() {
    clearTimeout(this.#timer);
    if (!this.#running) this.#running = this.#ask().finally(() => (this.#running = null));
  }

  async #ask() {
    const started = performance.now();
    let next = LAST_RETRY_MS;
    try {
      const trouble = await this.#answer();
      if (trouble) {
        // The jitter keeps many open pages apart.
        const wait = Math.min(FIRST_RETRY_MS * 2 ** this.#failures, LAST_RETRY_MS) * (0.8 + Math.random() * 0.4);
        next = Math.max(wait, trouble.retryAfterMs ?? 0);
        this.#failures += 1;
        this.#onTrouble({ ...trouble, nextMs: next });
      } else {
        this.#failures = 0;
        next = Math.max((document.hidden ? HIDDEN_MS : EVERY_MS) - (performance.now() - started), 0);
      }
    } finally {
      // A fault of the page itself must not be the end of its questions.
      this.#timer = setTimeout(() => this.now(), next);
    }
  }

  async #answer() {
    let answer;
    try {
      answer = await fetchInTime(`state?since=${this.#since()}`, TIMEOUT_MS);
    } catch (error) {
      return { kind: "lost", said: error.name === "AbortError" ? "no answer in 5 s" : "no connection to it" };
    }
    const { response, body } = answer;

    if (response.status === 401) return { kind: "token", said: body?.error };
    if (response.status === 503) {
      return { kind: "busy", said: body?.error, retryAfterMs: 1000 * Number(response.headers.get("retry-after") ?? 0) };
    }
    if (!response.ok) return { kind: "refused", said: body?.error ?? `status ${response.status}` };
    // An answer that is no JSON comes from a proxy, or from another server at this port.
    if (!body) return { kind: "refused", said: "the answer is not that of a dashboard" };
    try {
      this.#onState(body);
    } catch (error) {
      console.error(error);
      return { kind: "refused", said: "the page cannot show its answer" };
    }
    return null;
  }
}

// Returns the response and its body; null in place of a body that is no JSON. The time is for both.
async function fetchInTime(path, ms) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), ms);
  try {
    const response = await fetch(path, { signal: stop.signal, cache: "no-store", credentials: "same-origin" });
    const body = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return null;
      throw error;
    });
    return { response, body };
  } finally {
    clearTimeout(timer);
  }
}

// Asks for one thing on demand. Returns `{ok: answer}` or `{error: text}`.
export async function askOnce(path, ms) {
  try {
    const { response, body } = await fetchInTime(path, ms);
    if (response.ok && body) return { ok: body };
    return { error: body?.error ?? `The server answered with status ${response.status}.` };
  } catch {
    return { error: "The server did not answer." };
  }
}
