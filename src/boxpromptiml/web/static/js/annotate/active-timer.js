// Seconds in which a person worked. The clock stops some seconds after the last sign of life, and while the page is
// hidden. Pure: times come in as numbers (ms), nothing is asked of the browser.

export const IDLE_MS = 5000;

export class ActiveTimer {
  #idle;
  #active = 0;
  #last = null; // when the clock last counted; null while it stands
  #until = 0; // how far it may run without a further sign

  constructor(idle = IDLE_MS) {
    this.#idle = idle;
  }

  /** A key, the pointer, the wheel, or an image that came up. */
  activity(now) {
    this.#count(now);
    this.#last = now;
    this.#until = now + this.#idle;
  }

  /** The page was hidden, or the image left. */
  pause(now) {
    this.#count(now);
    this.#last = null;
  }

  /** Active seconds since the last time they were taken, to the millisecond; they start again from 0. */
  take(now) {
    this.#count(now);
    const seconds = Math.round(this.#active) / 1000;
    this.#active = 0;
    return seconds;
  }

  #count(now) {
    if (this.#last === null) return;
    const end = Math.min(now, this.#until);
    if (end > this.#last) this.#active += end - this.#last;
    this.#last = Math.max(this.#last, end);
  }
}

/** Tell a timer of what a person does in this window; returns a function that ends it. */
export function watchActivity(timer, now = () => performance.now()) {
  const stop = new AbortController();
  const options = { signal: stop.signal, capture: true, passive: true };
  const active = () => document.visibilityState === "visible" && timer.activity(now());
  for (const name of ["pointerdown", "pointermove", "pointerup", "keydown", "wheel"]) {
    addEventListener(name, active, options);
  }
  document.addEventListener("visibilitychange", () => document.hidden && timer.pause(now()), options);
  return () => stop.abort();
}
