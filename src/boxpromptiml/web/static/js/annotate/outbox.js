// Sends changes to the server: soon, in order, each once, and again and again while the server is away.
//
// What is on its way is frozen: after a lost answer exactly the same request goes out again, and the server, which
// knows a repetition by its content, does not count its seconds twice. Only then follows what changed in between.

import { contentOf, sameContent } from "./annotation.js";

const DELAY_MS = 250; // changes that come faster go out as one
const BACKOFF_MS = [500, 1000, 2000, 4000];
const TIMEOUT_MS = 20_000;
const KEEPALIVE_BYTES = 48_000; // browsers let requests outlive the page up to 64 KiB in all

export class Outbox {
  onState = () => {}; // {state: "saved" | "saving" | "offline" | "elsewhere" | "locked", waiting, kept}
  onSaved = () => {}; // (record)
  onConflict = () => {}; // (image, mine, record): then `resolve`
  onFailed = () => {}; // (image, error, content): then `retry` or `discard`
  onAdopted = () => {}; // (image): what another page left behind is to be saved from here
  isInHand = () => false; // (image): whether a person is in the middle of changing it
  #api;
  #journal;
  #entries = new Map(); // image -> {image, base, before, content, seconds, dirty, frozen, due, held, kept}
  #running = false;
  #failures = 0;
  #away = "offline"; // why the last request was in vain: a state
  #timer = 0;
  #told = "";

  constructor(api, journal) {
    this.#api = api;
    this.#journal = journal;
  }

  /** Take over what other pages could not send before they ended. */
  async recover() {
    let found = false;
    const adopted = (entry) => {
      found = true;
      if (entry.frozen) entry.frozen.uncertain = true;
      this.#entries.set(entry.image, { ...entry, due: 0, held: null });
      this.onAdopted(entry.image);
    };
    await this.#journal.adopt((image) => this.#entries.has(image) || this.isInHand(image), adopted);
    if (found) this.#schedule();
  }

  /** What is newer than the server's record, or null. */
  pending(image) {
    return this.#entries.get(image)?.content ?? null;
  }

  get waiting() {
    return this.#entries.size;
  }

  /** Whether all that waits would outlive the page. */
  get kept() {
    return [...this.#entries.values()].every((entry) => entry.kept);
  }

  /**
   * An image was changed.
   *
   * @param record on which the change was made, as the server sent it. @param seconds of work, to be added.
   */
  change(record, content, seconds) {
    const { image } = record;
    const before = contentOf(record);
    const fresh = { image, base: record.version, before, seconds: 0, frozen: null, held: null };
    const entry = this.#entries.get(image) ?? fresh;
    // What the record says has arrived: nobody is asked later about another page's copy of it.
    if (entry === fresh) this.#journal.forget(image, (other) => sameContent(other.content, before));
    // A refusal was about what was said before.
    if (entry.held === "failed" && !sameContent(entry.content, content)) entry.held = null;
    entry.content = content;
    entry.seconds += seconds;
    entry.dirty = true;
    entry.due = performance.now() + DELAY_MS;
    this.#entries.set(image, entry);
    this.#keep(entry);
    this.#schedule();
  }

  /** Send all that waits now: the first request is on its way when this returns. */
  flush() {
    for (const entry of this.#entries.values()) entry.due = 0;
    clearTimeout(this.#timer);
    this.#pump();
  }

  /** The server may be back: try at once. */
  wake() {
    this.#failures = 0;
    this.flush();
  }

  /**
   * The page goes away: send what waits in requests that outlive it. The journal keeps it all until an answer is seen,
   * so nothing hangs on this; it makes the changes visible to others now instead of with the next visit.
   */
  sendBeforeLeaving() {
    this.flush();
    for (const entry of this.#entries.values()) {
      if (entry.held || !entry.dirty) continue;
      if (entry.frozen) {
        // What is on its way will have raised the version by one. The seconds wait for the next visit.
        const version = entry.frozen.version + 1;
        this.#put(entry.image, { ...entry.content, version, add_seconds: 0 }).catch(() => {});
      } else {
        this.#freeze(entry);
        entry.frozen.uncertain = true;
        this.#keep(entry);
        this.#put(entry.image, entry.frozen).catch(() => {});
      }
    }
  }

  /** End a conflict: `content` is to stay, over `record`, which the person now knows. */
  resolve(image, record, content) {
    const entry = this.#entries.get(image);
    if (!entry) return;
    entry.held = null;
    entry.content = content;
    this.#rebase(entry, record);
    if (sameContent(content, record) && !entry.seconds) this.#forget(entry);
    this.#schedule();
  }

  /** Ask again about conflicts and failures that nobody was there to hear of. */
  remind() {
    for (const entry of this.#entries.values()) entry.held = null;
    this.#told = "";
    this.#schedule();
  }

  /** Resolves when nothing is left to send but what waits for a person or for the server's return, or after `limit` ms. */
  async settled(limit) {
    const end = performance.now() + limit;
    const busy = () => !this.#failures && [...this.#entries.values()].some((entry) => !entry.held);
    while (busy() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  retry(image) {
    const entry = this.#entries.get(image);
    if (entry) entry.held = null;
    this.wake();
  }

  discard(image) {
    const entry = this.#entries.get(image);
    if (entry) this.#forget(entry);
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    this.#report();
    if (this.#running) return;
    const open = [...this.#entries.values()].filter((entry) => !entry.held);
    if (!open.length) return;
    const wait = this.#failures
      ? BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length) - 1]
      : Math.min(...open.map((entry) => entry.due)) - performance.now();
    this.#timer = setTimeout(() => this.#pump(), Math.max(0, wait));
  }

  async #pump() {
    if (this.#running) return;
    this.#running = true;
    try {
      for (;;) {
        const now = performance.now();
        const entry = [...this.#entries.values()].find((one) => !one.held && (one.due <= now || this.#failures));
        if (!entry || !(await this.#send(entry))) break;
      }
    } finally {
      this.#running = false;
      this.#schedule();
    }
  }

  /** One request; false where the server is away and there is no use in going on. */
  async #send(entry) {
    if (!entry.frozen) this.#freeze(entry);
    let record;
    try {
      record = await this.#put(entry.image, entry.frozen);
    } catch (error) {
      return this.#refused(entry, error);
    }
    this.#failures = 0;
    this.#confirmed(entry, record);
    return true;
  }

  #refused(entry, error) {
    entry.due = 0;
    const away = error.elsewhere ? "elsewhere" : error.locked ? "locked" : (error.temporary ?? true) ? "offline" : null;
    if (away) {
      // Whether it arrived is not known. Where another dataset is served, or another token wanted, it did not.
      if (entry.frozen && away === "offline") entry.frozen.uncertain = true;
      this.#failures += 1;
      this.#away = away;
      this.#keep(entry);
      return false;
    }
    this.#failures = 0;
    if (this.#isGone(entry)) return true;
    const theirs = error.status === 409 ? error.data?.record : null;
    if (theirs && sameContent(theirs, entry.content)) {
      this.#confirmed(entry, theirs, { settled: true });
    } else if (theirs && sameContent(theirs, entry.before)) {
      // Another version, but of something else: a mask was made, a split assigned. Nobody's boxes are at stake.
      this.#rebase(entry, theirs);
    } else if (theirs && isNoChange(entry)) {
      // Nothing but the time of a visit was to be told: it is added to theirs.
      entry.content = contentOf(theirs);
      this.#rebase(entry, theirs);
    } else if (theirs) {
      entry.held = "conflict";
      this.onConflict(entry.image, entry.content, theirs);
    } else {
      this.#rejected(entry, error);
    }
    return true;
  }

  /** Refused for good. What came after it may be welcome; only where there is nothing newer a person is asked. */
  #rejected(entry, error) {
    const refused = contentOf(entry.frozen);
    this.#thaw(entry);
    entry.dirty = true;
    this.#keep(entry);
    if (!sameContent(refused, entry.content)) return;
    entry.held = "failed";
    this.onFailed(entry.image, error, entry.content);
  }

  #confirmed(entry, record, { settled = false } = {}) {
    if (this.#isGone(entry)) return;
    entry.frozen = null;
    entry.base = record.version;
    entry.before = contentOf(record);
    if (settled && !entry.seconds) entry.dirty = false;
    if (entry.dirty) this.#keep(entry);
    else this.#forget(entry);
    this.onSaved(record);
  }

  /** The same change, to be made on another version. */
  #rebase(entry, record) {
    this.#thaw(entry);
    Object.assign(entry, { base: record.version, before: contentOf(record), dirty: true, due: 0 });
    this.#keep(entry);
  }

  /** A request goes out no more. Seconds of one whose answer was lost may have been counted: not again. */
  #thaw(entry) {
    if (entry.frozen && !entry.frozen.uncertain) entry.seconds += entry.frozen.add_seconds;
    entry.frozen = null;
  }

  #freeze(entry) {
    entry.frozen = { ...entry.content, version: entry.base, add_seconds: Math.round(entry.seconds * 1000) / 1000 };
    entry.seconds = 0;
    entry.dirty = false;
    this.#keep(entry);
  }

  #put(image, { version, boxes, label, skipped, add_seconds }) {
    const change = { version, boxes, label, skipped, add_seconds };
    const keepalive = JSON.stringify(change).length < KEEPALIVE_BYTES;
    return this.#api.save(image, change, { keepalive, signal: AbortSignal.timeout(TIMEOUT_MS) });
  }

  /** Whether it was discarded, which may be while it is on its way. */
  #isGone(entry) {
    return this.#entries.get(entry.image) !== entry;
  }

  #keep(entry) {
    if (this.#isGone(entry)) return;
    const { image, base, before, content, seconds, dirty, frozen } = entry;
    entry.kept = this.#journal.write({ image, base, before, content, seconds, dirty, frozen });
  }

  #forget(entry) {
    this.#entries.delete(entry.image);
    this.#journal.remove(entry.image);
  }

  #report() {
    const waiting = this.#entries.size;
    const state = !waiting ? "saved" : this.#failures ? this.#away : "saving";
    const { kept } = this;
    const told = `${state} ${waiting} ${kept}`;
    if (told === this.#told) return;
    this.#told = told;
    this.onState({ state, waiting, kept });
  }
}

/** Whether an image is to stay as it was found, and was to when its request went out. */
function isNoChange({ before, content, frozen }) {
  return sameContent(content, before) && (!frozen || sameContent(contentOf(frozen), before));
}
