// Changes that the server has not confirmed, kept in the browser: they survive its end, and the server's.
//
// One entry a tab and image. A tab that is alive shows it; entries of tabs that are gone are taken over.

import { lifeSign } from "./life-sign.js";

const PREFIX = "boxpromptiml.journal";

export class Journal {
  #prefix;
  #tab = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  #life = lifeSign(this.#tab);
  #images = new Set(); // of which there is an entry of this tab

  /** @param dataset tells one dataset's changes from another's on the same address. */
  constructor(dataset) {
    this.#prefix = `${PREFIX}/${encodeURIComponent(dataset)}/`;
  }

  /** The page is left: others may take over what is here, at once. */
  leave() {
    this.#life.leave();
  }

  /** The page was left and is back. */
  comeBack() {
    this.#life.comeBack();
  }

  /** Returns whether it is kept: the browser's storage may be full, or switched off. */
  write(entry) {
    this.#images.add(entry.image);
    this.#life.guard(true);
    try {
      localStorage.setItem(this.#key(this.#tab, entry.image), JSON.stringify(entry));
      return true;
    } catch {
      return false;
    }
  }

  remove(image) {
    this.#images.delete(image);
    if (!this.#images.size) this.#life.guard(false);
    drop(this.#key(this.#tab, image));
  }

  /**
   * Entries that tabs left behind which are gone: each is this tab's from now on, and given to `take(entry)`. An image
   * for which `refuse(image)` is true stays where it is, for a later call.
   */
  async adopt(refuse, take) {
    const isAlive = await this.#life.others();
    for (const { key, tab, image } of this.#others()) {
      if (isAlive(tab) || refuse(image)) continue;
      const entry = read(key);
      if (!entry) continue;
      // First the copy, then the original: dying in between leaves both, and the second is then seen to be the same.
      const copied = this.write(entry);
      drop(key);
      take({ ...entry, kept: copied || this.write(entry) }); // there may be room for one, not for two
    }
  }

  /** Throw away what other tabs keep of an image where `isDone(entry)`, whether they are alive or not. */
  forget(image, isDone) {
    for (const other of this.#others()) {
      if (other.image !== image) continue;
      const entry = read(other.key);
      if (entry && isDone(entry)) drop(other.key);
    }
  }

  #key(tab, image) {
    return `${this.#prefix}${tab}/${image}`;
  }

  /** The entries of other tabs: `[{key, tab, image}]`. */
  #others() {
    let keys;
    try {
      keys = Object.keys(localStorage).filter((key) => key.startsWith(this.#prefix)).sort();
    } catch {
      return [];
    }
    const all = keys.map((key) => {
      const [, tab, image] = /^([^/]*)\/(.*)$/s.exec(key.slice(this.#prefix.length)) ?? [];
      return { key, tab, image };
    });
    return all.filter(({ tab }) => tab && tab !== this.#tab);
  }
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function drop(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // No storage: nothing was kept.
  }
}
