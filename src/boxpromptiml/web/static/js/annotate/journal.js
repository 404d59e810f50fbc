// Changes that the server has not confirmed, kept in the browser: they survive its end, and the server's.
//
// One entry a tab and image. A tab that is alive holds a lock of its name; entries of tabs that are gone are taken over.

const PREFIX = "boxpromptiml.journal";
const STALE_MS = 60_000; // where there are no locks (no secure context): an entry untouched for so long is orphaned

export class Journal {
  #prefix;
  #tab = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  #release = () => {};
  #held = null;

  /** @param dataset tells one dataset's changes from another's on the same address. */
  constructor(dataset) {
    this.#prefix = `${PREFIX}/${encodeURIComponent(dataset)}/`;
    if (navigator.locks) {
      this.#held = new Promise((granted) => {
        navigator.locks.request(this.#lock(this.#tab), () => {
          granted();
          return new Promise((release) => (this.#release = release));
        });
      });
    }
  }

  close() {
    this.#release();
  }

  /** Returns whether it is kept: the browser's storage may be full, or switched off. */
  write(entry) {
    try {
      localStorage.setItem(this.#key(this.#tab, entry.image), JSON.stringify({ ...entry, at: Date.now() }));
      return true;
    } catch {
      return false;
    }
  }

  remove(image) {
    try {
      localStorage.removeItem(this.#key(this.#tab, image));
    } catch {
      // No storage: nothing was kept.
    }
  }

  /**
   * Entries that tabs left behind which are gone; they are this tab's from now on. An image for which `refuse(image)`
   * is true stays where it is, for a later call.
   */
  async adopt(refuse) {
    const alive = await this.#livingTabs();
    const entries = [];
    for (const key of this.#keys()) {
      const tab = key.slice(this.#prefix.length).split("/", 1)[0];
      if (tab === this.#tab || alive?.has(tab)) continue;
      const entry = this.#read(key);
      if (!entry || (alive === null && Date.now() - entry.at < STALE_MS)) continue;
      if (refuse(entry.image) || entries.some((other) => other.image === entry.image)) continue;
      // First the copy, then the original: dying in between leaves both, and the second is then seen to be the same.
      const copied = this.write(entry);
      localStorage.removeItem(key);
      entries.push({ ...entry, kept: copied || this.write(entry) }); // there may be room for one, not for two
    }
    return entries;
  }

  #key(tab, image) {
    return `${this.#prefix}${tab}/${image}`;
  }

  #lock(tab) {
    return `${PREFIX}.${tab}`;
  }

  #keys() {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(this.#prefix)).sort();
    } catch {
      return [];
    }
  }

  #read(key) {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null;
    }
  }

  /** Names of the tabs that are there, or null where the browser can't tell. */
  async #livingTabs() {
    if (!navigator.locks) return null;
    await this.#held;
    const { held } = await navigator.locks.query();
    return new Set(held.map(({ name }) => name.slice(PREFIX.length + 1)));
  }
}
