// Decoded pictures: loaded once, kept while there is room, fetched ahead.

const MEGABYTE = 2 ** 20;

export class PictureStore {
  #api;
  #room = (navigator.deviceMemory >= 8 ? 400 : 160) * MEGABYTE;
  #held = new Map(); // key -> {promise, bitmap, abort, image}, least recently used first
  #keep = new Set(); // images whose pictures are not thrown away

  constructor(api) {
    this.#api = api;
  }

  /** A picture that is there already, or null. */
  ready(image, size) {
    const entry = this.#held.get(key(image, size));
    if (!entry?.bitmap) return null;
    this.#touch(key(image, size), entry);
    return entry.bitmap;
  }

  /** A picture; it belongs to the store, which closes it when there is no more room. */
  load(image, size) {
    const name = key(image, size);
    const known = this.#held.get(name);
    if (known) {
      this.#touch(name, known);
      return known.promise;
    }
    const entry = { image, bitmap: null, abort: new AbortController() };
    entry.promise = this.#api.picture(image, size, entry.abort.signal).then(
      (bitmap) => {
        if (this.#held.get(name) !== entry) {
          // It was given up while it was decoded: nobody may draw what is closed.
          bitmap.close();
          throw new DOMException("the picture was given up", "AbortError");
        }
        entry.bitmap = bitmap;
        this.#makeRoom(entry); // whoever waits for it is going to draw it
        return bitmap;
      },
      (error) => {
        if (this.#held.get(name) === entry) this.#held.delete(name);
        throw error;
      },
    );
    entry.promise.catch(() => {}); // whoever waits for it sees the error
    this.#held.set(name, entry);
    return entry.promise;
  }

  /** This image matters from now on, beside those that did. */
  keep(image) {
    this.#keep.add(image);
  }

  /** Only these images matter now: what is on its way for others is stopped. */
  focus(images) {
    this.#keep = new Set(images);
    this.#stop((image) => !this.#keep.has(image));
    this.#makeRoom();
  }

  /** Nobody waits for this image any more: what is on its way of it is stopped. */
  giveUp(image) {
    this.#stop((other) => other === image);
  }

  clear() {
    for (const entry of this.#held.values()) {
      entry.abort.abort();
      entry.bitmap?.close();
    }
    this.#held.clear();
  }

  #stop(isUnwanted) {
    for (const [name, entry] of this.#held) {
      if (entry.bitmap || !isUnwanted(entry.image)) continue;
      entry.abort.abort();
      this.#held.delete(name);
    }
  }

  #touch(name, entry) {
    this.#held.delete(name);
    this.#held.set(name, entry);
  }

  #makeRoom(fresh = null) {
    let used = 0;
    for (const { bitmap } of this.#held.values()) used += bitmap ? bitmap.width * bitmap.height * 4 : 0;
    for (const [name, entry] of this.#held) {
      const { bitmap, image } = entry;
      if (used <= this.#room) return;
      if (!bitmap || entry === fresh || this.#keep.has(image)) continue;
      this.#held.delete(name);
      used -= bitmap.width * bitmap.height * 4;
      bitmap.close();
    }
  }
}

const key = (image, size) => `${size}/${image}`;
