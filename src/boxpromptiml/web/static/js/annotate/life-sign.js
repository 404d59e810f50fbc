// How tabs of one browser know which of them are alive.
//
// By locks, which end with their tab. Over plain HTTP from another host there are none, and some browsers refuse them:
// there a tab says in the browser's storage until when it will have given its next sign.

const LOCK = "boxpromptiml.journal";
const SIGN = "boxpromptiml.alive/";
const EVERY_MS = 3000;
const LASTS_MS = 10_000;
// Browsers let the timers of a page that is hidden for five minutes run once a minute.
const LONG_HIDDEN_MS = 240_000;
const LASTS_HIDDEN_MS = 90_000;

/**
 * The sign of a tab. `guard(true)`: there is something that others must leave alone. `leave()` and `comeBack()`: the page
 * goes, and is back. `others()` resolves to `(tab) -> whether it is alive`.
 */
export const lifeSign = (tab) => (navigator.locks ? new LockSign(tab) : new StorageSign(tab));

class StorageSign {
  #key;
  #guards = false;
  #away = false;
  #timer = 0;
  #hiddenAt = 0;
  #needed;

  /** @param needed false: signs are given only once `need()` is called. */
  constructor(tab, { needed = true } = {}) {
    this.#needed = needed;
    this.#key = SIGN + tab;
    document.addEventListener("visibilitychange", () => (this.#hiddenAt = performance.now()));
  }

  need() {
    this.#needed = true;
    this.#follow();
  }

  guard(guards) {
    this.#guards = guards;
    this.#follow();
  }

  /** What is written from now on, on the way out, is for others to look after. */
  leave() {
    this.#away = true;
    this.#follow();
  }

  comeBack() {
    this.#away = false;
    this.#follow();
  }

  #follow() {
    const wanted = this.#needed && this.#guards && !this.#away;
    if (wanted === Boolean(this.#timer)) return;
    if (wanted) {
      this.#timer = setInterval(() => this.#beat(), EVERY_MS);
      this.#beat();
      return;
    }
    clearInterval(this.#timer);
    this.#timer = 0;
    try {
      localStorage.removeItem(this.#key);
    } catch {
      // No storage: there was no sign either.
    }
  }

  #beat() {
    const long = document.hidden && performance.now() - this.#hiddenAt > LONG_HIDDEN_MS;
    try {
      localStorage.setItem(this.#key, Date.now() + (long ? LASTS_HIDDEN_MS : LASTS_MS));
    } catch {
      // Full: others may send the same change too, which the server knows as one.
    }
  }

  async others() {
    const now = Date.now();
    const alive = new Set();
    try {
      for (const key of Object.keys(localStorage).filter((one) => one.startsWith(SIGN))) {
        const until = Number(localStorage.getItem(key));
        // A clock that was set back must not make the dead immortal.
        if (now < until && until <= now + LASTS_HIDDEN_MS) alive.add(key.slice(SIGN.length));
        else localStorage.removeItem(key);
      }
    } catch {
      // No storage: nothing to take over.
    }
    return (tab) => alive.has(tab);
  }
}

/** By locks; where the browser refuses them, as a page has to do that has none. */
class LockSign extends StorageSign {
  #granted;

  constructor(tab) {
    super(tab, { needed: false });
    this.#granted = new Promise((granted, refused) => {
      const held = navigator.locks.request(`${LOCK}.${tab}`, () => {
        granted();
        return new Promise(() => {}); // as long as the page lives
      });
      held.catch(refused);
    });
    this.#granted.catch(() => this.need());
  }

  async others() {
    try {
      await this.#granted;
      const { held } = await navigator.locks.query();
      const names = new Set(held.map(({ name }) => name));
      return (tab) => names.has(`${LOCK}.${tab}`);
    } catch {
      this.need();
      return super.others();
    }
  }
}
