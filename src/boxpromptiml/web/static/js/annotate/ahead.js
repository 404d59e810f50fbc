// What comes next, and having it ready: names, records and pictures of the following images.

const DEPTH = 3;
const RECORDS_KEPT = 60;
const FRESH_MS = 1500;

/** Records that were asked for, so that the next image needs no waiting. */
export class RecordStore {
  #api;
  #held = new Map(); // image -> {promise, record, at}

  constructor(api) {
    this.#api = api;
  }

  /** A record at hand, however old, or null. */
  ready(image) {
    return this.#held.get(image)?.record ?? null;
  }

  /** Whether the record at hand was read a moment ago. */
  isFresh(image) {
    return performance.now() - (this.#held.get(image)?.at ?? -Infinity) < FRESH_MS;
  }

  load(image) {
    const known = this.#held.get(image);
    if (known) return known.promise;
    return this.reload(image);
  }

  /** Ask the server even if there is a record at hand, which stays until the answer comes. */
  reload(image) {
    const entry = { record: this.ready(image), at: this.#held.get(image)?.at ?? -Infinity };
    entry.promise = this.#api.record(image).then(
      (record) => {
        // A save may have brought a newer one in the meantime.
        if (this.#held.get(image) === entry) this.put(record);
        return this.ready(image) ?? record;
      },
      (error) => {
        if (this.#held.get(image) === entry) this.#held.delete(image);
        throw error;
      },
    );
    entry.promise.catch(() => {});
    this.#held.set(image, entry);
    return entry.promise;
  }

  put(record) {
    this.#held.delete(record.image);
    this.#held.set(record.image, { record, promise: Promise.resolve(record), at: performance.now() });
    for (const image of this.#held.keys()) {
      if (this.#held.size <= RECORDS_KEPT) break;
      this.#held.delete(image);
    }
  }
}

export class Ahead {
  #api;
  #records;
  #pictures;
  #hasTeacher;
  #image = null;
  #filters = "";
  #queue = [];
  #turn = 0;

  constructor(api, records, pictures, hasTeacher) {
    this.#api = api;
    this.#records = records;
    this.#pictures = pictures;
    this.#hasTeacher = hasTeacher;
  }

  /** The image after or before `image`, or null at the end. */
  async step(image, filters, direction) {
    if (direction > 0 && image === this.#image && JSON.stringify(filters) === this.#filters && this.#queue.length) {
      return this.#queue[0];
    }
    return this.#api.next(image, filters, { direction });
  }

  /** `image` is going to be shown: what is still found out for the one before it must not take its pictures away. */
  turnTo(image) {
    this.#turn += 1;
    this.#pictures.keep(image);
  }

  /** `image` is shown: get the following ones. `previous` stays at hand. */
  async prepare(image, filters, previous) {
    const turn = ++this.#turn;
    const same = JSON.stringify(filters) === this.#filters;
    const place = same ? this.#queue.indexOf(image) : -1;
    const known = place >= 0 ? this.#queue.slice(place + 1) : image === this.#image && same ? this.#queue : [];
    this.#image = image;
    this.#filters = JSON.stringify(filters);
    this.#queue = [...known];
    this.#pictures.focus([image, previous, ...this.#queue]);
    try {
      while (this.#queue.length < DEPTH) {
        const next = await this.#api.next(this.#queue.at(-1) ?? image, filters);
        if (turn !== this.#turn) return;
        if (next === null || this.#queue.includes(next)) break;
        this.#queue.push(next);
        this.#fetch(next);
      }
      this.#pictures.focus([image, previous, ...this.#queue]);
      for (const next of this.#queue) this.#fetch(next);
      if (this.#hasTeacher) await this.#api.prefetch([image, ...this.#queue]);
    } catch {
      // Whoever goes there will hear of it.
    }
  }

  #fetch(image) {
    this.#records.load(image).catch(() => {});
    this.#pictures.load(image, "view").catch(() => {});
  }
}
