// Which image comes next, what was decided, and how to take it back. Talks to the server; knows nothing of the page.

const UNDO_LIMIT = 500;

export const FILTERS = { open: "Open", accepted: "Accepted", rejected: "Rejected" };

export class ReviewQueue {
  filter = "open";
  counts = { open: 0, accepted: 0, rejected: 0 };
  #api;
  #verdicts = []; // {image, before}: what to go back to

  constructor(api, counts) {
    this.#api = api;
    this.setCounts(counts);
  }

  setCounts(counts) {
    this.counts = { open: counts.open, accepted: counts.accepted, rejected: counts.rejected };
  }

  /** Pseudo masks of the dataset. */
  get total() {
    return this.counts.open + this.counts.accepted + this.counts.rejected;
  }

  get judged() {
    return this.counts.accepted + this.counts.rejected;
  }

  get canUndo() {
    return this.#verdicts.length > 0;
  }

  get query() {
    return { review: this.filter, order: "suspicion" };
  }

  /** The image to begin with, or null. */
  async first(signal) {
    const { items } = await this.#api.images({ ...this.query, limit: 1 }, signal);
    return items[0]?.image ?? null;
  }

  /** The image after (1) or before (-1) this one, going round; null where there is no other. */
  async beside(image, direction, signal) {
    const next = await this.#api.next(image, this.query, { direction, wrap: true }, signal);
    return next === image ? null : next;
  }

  /** `{position, total}` of an image among those of the filter; position is null where it is not one of them. */
  position(image, signal) {
    return this.#api.position(image, this.query, signal);
  }

  /** Store a verdict; returns the record. A conflict is an ApiError 409 with `data.record`. */
  async judge(record, verdict) {
    const { image, version, review, pseudo } = record;
    // With the mask that was seen: sent again because its answer was lost, it is no conflict.
    const now = await this.#api.post("/api/review", { image, version, verdict, mask: pseudo.id });
    if (review !== verdict) this.remember(image, review, now.review);
    return now;
  }

  /** Count a verdict that was stored in another way, and be able to take it back. */
  remember(image, before, after) {
    this.#count(before, after);
    this.#verdicts.push({ image, before, after });
    if (this.#verdicts.length > UNDO_LIMIT) this.#verdicts.shift();
  }

  /**
   * Take the last verdict back; `signal` ends it as long as nothing was sent.
   * @returns its record; null where somebody else has changed the verdict in the meantime, whose word then stands.
   */
  async undo(signal) {
    const last = this.#verdicts.at(-1);
    const { version, review, ...record } = await this.#api.record(last.image, signal);
    if (review === last.before) {
      // Taken back already: the answer was lost.
      this.#verdicts.pop();
      this.#count(last.after, last.before);
      return { ...record, version, review, undone: true };
    }
    if (review !== last.after) {
      this.#verdicts.pop();
      return { ...record, version, review, undone: false };
    }
    const now = await this.#api.post("/api/review", { image: last.image, version, verdict: last.before });
    this.#verdicts.pop();
    this.#count(last.after, last.before);
    return { ...now, undone: true };
  }

  #count(before, after) {
    this.counts[before ?? "open"] -= 1;
    this.counts[after ?? "open"] += 1;
  }
}
