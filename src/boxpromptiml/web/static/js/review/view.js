// The review view: walks through the pseudo masks, the suspicious ones first.

import { pressing } from "../canvas/pressing.js";
import { button, fill, h, isTyping } from "../dom.js";
import { Editor } from "./editor.js";
import { Frame, nothingHere } from "./frame.js";
import { meaningOf, SHORTCUTS } from "./keys.js";
import { tellConflict } from "./questions.js";
import { FILTERS, ReviewQueue } from "./queue.js";

const LOADING = "Another image is being loaded";

export function mount(root, context) {
  const view = new ReviewView(root, context);
  return {
    started: view.start(context.router.current.params),
    shortcuts: SHORTCUTS,
    navigate: (params) => view.navigate(params),
    mayLeave: () => view.mayLeave(),
    unmount: () => view.destroy(),
  };
}

/** The filter that an address names; it names none for the open ones. */
const filterOf = (name) => (Object.hasOwn(FILTERS, name ?? "") ? name : "open");

class ReviewView {
  #api;
  #router;
  #announce;
  #queue;
  #editor;
  #frame;
  #root;
  #readOnly;
  #image = null; // the one that is wanted: seen, on its way, or one that could not be loaded
  #turn = new AbortController(); // of what is shown or on its way; aborted as soon as something else is wanted
  #deciding = null; // the turn in which a verdict was given that is not stored yet, its signal
  #going = false; // to another image: the same key does not begin again before it is there
  #leaving = null; // the question whether the image may be left, a promise
  #doing = null; // what the editor is at, in words
  #abort = new AbortController();

  constructor(root, { api, session, router, announce }) {
    this.#root = root;
    this.#api = api;
    this.#router = router;
    this.#announce = announce;
    this.#readOnly = session.read_only;
    this.#queue = new ReviewQueue(api, session.counts);
    this.#frame = new Frame(
      {
        filter: (name) => this.setFilter(name),
        accept: () => this.judge("accepted"),
        reject: () => this.judge("rejected"),
        undo: () => this.undo(),
        previous: () => this.go(-1),
        next: () => this.go(1),
      },
      { readOnly: session.read_only },
    );
    this.#editor = new Editor({ api, session, announce, frame: this.#frame });
    this.#editor.onStored = (record, before) => this.#stored(record, before);
    this.#editor.onConflict = (record) => this.#show(record);
    this.#editor.onBusy = (what) => {
      this.#doing = what;
      this.#frame.setWaiting(what !== null);
    };
    const signal = this.#abort.signal;
    document.addEventListener("keydown", (event) => this.#key(event), { signal });
    addEventListener("beforeunload", (event) => this.#editor.changed && event.preventDefault(), { signal });
    const { canvas, panel } = this.#editor;
    this.pane = h("div", { class: "pane" }, panel.tools, h("div", { class: "over" }, canvas.stage.element, this.#frame.message, this.#frame.note));
    this.layout = h("div", { class: "review" }, this.#frame.top, this.pane, this.#frame.actions, panel.element);
    pressing(this.layout, canvas.stage);
  }

  async start({ image, review }) {
    this.#queue.filter = filterOf(review);
    fill(this.#root, this.layout);
    this.#frame.showCounts(this.#queue);
    await this.#open(image ?? null);
  }

  async navigate({ image, review }) {
    if (!(await this.mayLeave())) return void this.#write();
    this.#queue.filter = filterOf(review);
    await this.#open(image ?? null);
  }

  async destroy() {
    this.#abort.abort();
    this.#turn.abort();
    this.#editor.destroy();
  }

  async setFilter(name) {
    if (!(await this.mayLeave())) return;
    this.#queue.filter = name;
    await this.#open(null);
  }

  /** Something else is wanted: what was on its way is given up, and with it all that it held back. */
  #begin() {
    this.#turn.abort();
    this.#turn = new AbortController();
    this.#going = false;
    return this.#turn.signal;
  }

  /** Show an image; null for the first one of the filter. */
  #open(image) {
    const signal = this.#begin();
    return this.#held(() => this.#load(image, signal));
  }

  /** Show a record that is known already. */
  #show(record) {
    const signal = this.#begin();
    return this.#held(() => this.#display(record, signal));
  }

  async #load(image, signal) {
    try {
      const name = image ?? (await this.#queue.first(signal));
      if (signal.aborted) return;
      if (name === null) return void this.#showNothing();
      try {
        await this.#display(await this.#api.record(name, signal), signal);
      } catch (error) {
        if (!signal.aborted) this.#showMissing(name, error, signal);
      }
    } catch (error) {
      if (!signal.aborted) this.#fail(error, () => this.#open(image));
    }
  }

  async #display(record, signal) {
    if (this.#left || signal.aborted) return;
    if (!this.layout.isConnected) fill(this.#root, this.layout);
    this.#frame.hush();
    this.#image = record.image;
    this.#write(record.image);
    try {
      await this.#editor.show(record, { signal });
      if (signal.aborted) return;
      this.#frame.setSeen(true);
      this.#announce(`${record.image}. ${this.#editor.summary}`);
    } catch (error) {
      if (!signal.aborted) this.#showMissing(record.image, error, signal);
      return;
    }
    // Not waited for: a person may go on as soon as the mask is seen.
    this.#around(record, signal).catch((error) => signal.aborted || this.#fail(error));
  }

  /** An image that cannot be shown: nothing of the one before is left that could be taken for it, or judged. */
  #showMissing(image, error, signal) {
    if (this.#left) return;
    if (!this.layout.isConnected) fill(this.#root, this.layout);
    this.#image = image;
    this.#editor.clear(image);
    this.#frame.setSeen(false);
    this.#frame.showPlace(null);
    this.#write(image);
    this.#fail(error, () => this.#open(image));
    // What is wrong has been said; without its place one can go on as well.
    this.#around({ image }, signal).catch(() => {});
  }

  /**
   * While another image is on its way nothing is drawn on the one that is seen: it would be lost with it. Only as long as
   * that is what is wanted: a request may never end.
   */
  async #held(work) {
    const release = this.#editor.hold(`${LOADING}: go on when it is there`);
    this.#turn.signal.addEventListener("abort", release, { once: true });
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** What is around the image: its place, counts that others may have changed, and the next one, fetched ahead. */
  async #around({ image }, signal) {
    const [place, session, next] = await Promise.all([
      this.#queue.position(image, signal), this.#api.session(signal), this.#queue.beside(image, 1, signal),
    ]);
    if (signal.aborted) return;
    this.#queue.setCounts(session.counts);
    this.#frame.showCounts(this.#queue);
    this.#frame.showPlace(place);
    if (next === null) return;
    const record = await this.#api.record(next, signal);
    if (!signal.aborted) this.#editor.prefetch(record);
  }

  #showNothing() {
    if (this.#left) return;
    this.#begin();
    this.#image = null;
    this.#editor.clear();
    this.#frame.setSeen(false);
    this.#write(null);
    this.#frame.showCounts(this.#queue);
    const page = nothingHere(this.#queue, (name) => this.setFilter(name));
    if (this.#queue.canUndo) page.append(this.#frame.undo);
    fill(this.#root, page);
    this.#announce(page.querySelector("h1").textContent);
  }

  /** Whether another view is shown by now; what was under way here comes to its end without being seen. */
  get #left() {
    return this.#abort.signal.aborted;
  }

  #write(image = this.#editor.record?.image ?? this.#image) {
    if (this.#left) return;
    const { filter } = this.#queue;
    this.#router.write("review", { review: filter === "open" ? null : filter, image });
  }

  async go(direction) {
    if (this.#image === null || this.#going || (this.#deciding && !this.#deciding.aborted)) return;
    const { signal } = this.#turn;
    this.#going = true;
    try {
      // Asked first: what is stored on leaving may move the image to another place among the others.
      const next = await this.#beside(this.#image, direction, signal);
      if (!(await this.mayLeave()) || signal.aborted) return;
      if (next !== null) await this.#goTo(next);
      else this.#announce("There is no other mask among these");
    } catch (error) {
      this.#fail(error);
    } finally {
      if (!signal.aborted) this.#going = false;
    }
  }

  async #goTo(image) {
    const there = this.#open(image);
    const { signal } = this.#turn;
    this.#going = true;
    await there;
    if (!signal.aborted) this.#going = false;
  }

  /** The image beside another one; the first one where the dataset does not know that. */
  async #beside(image, direction, signal) {
    try {
      return await this.#queue.beside(image, direction, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      return this.#queue.first(signal);
    }
  }

  async judge(verdict) {
    if (this.#readOnly || this.#waits()) return;
    const { record } = this.#editor;
    if (!record) return void this.#tell("No mask is seen: there is nothing to judge");
    const paints = () => verdict === "accepted" && this.#editor.painted.changed;
    if (!record.pseudo && !paints()) return void this.#tell(`No pseudo mask to judge yet: ${this.#editor.remedy}`);
    const { signal } = this.#turn;
    await this.#working(async () => {
      const next = await this.#queue.beside(record.image, 1, signal);
      if (signal.aborted) return;
      const painted = paints();
      if (painted) {
        if (!(await this.#editor.store())) return;
        if (this.#editor.changed) return this.#tell("Your mask is stored, but not what was changed since");
      } else {
        if (!(await this.mayLeave())) return;
        // Nobody judges a mask that was not there when the key was pressed.
        if (this.#editor.record.version !== record.version) return this.#tell("This mask is new: look at it, then decide");
      }
      if (signal.aborted) return;
      await this.#held(async () => {
        if (!painted) await this.#queue.judge(record, verdict);
        this.#announce(verdict === "accepted" ? "Accepted" : "Rejected");
        this.#frame.showCounts(this.#queue);
        if (signal.aborted) return; // they went elsewhere meanwhile
        if (next !== null) await this.#goTo(next);
        else if (this.#queue.filter === verdict) await this.#open(record.image);
        else this.#showNothing();
      });
    });
  }

  /** Whether a verdict has to wait, said in words: nobody accepts a mask that they have not seen yet. */
  #waits() {
    const { busy, canvas } = this.#editor;
    const loading = canvas.held || this.#going;
    if (this.#deciding) {
      // To whoever is still there, a second press of the same key says nothing new.
      if (this.#deciding.aborted && !loading) this.#tell("The last verdict is still being stored: decide when it is");
      return true;
    }
    if (busy || loading) this.#tell(`${busy ? this.#doing : LOADING}: decide when it is there`);
    return busy || loading;
  }

  #tell(text) {
    this.#frame.toast(text);
    this.#announce(text);
  }

  async undo() {
    if (!this.#queue.canUndo || this.#waits() || !(await this.mayLeave())) return;
    const { signal } = this.#turn;
    await this.#working(async () => {
      const record = await this.#held(async () => {
        const undone = await this.#queue.undo(signal);
        this.#frame.actions.append(this.#frame.undo);
        this.#frame.showCounts(this.#queue);
        if (!signal.aborted) await this.#show(undone);
        return undone;
      });
      this.#announce(record.undone ? "Verdict taken back" : "Somebody else has judged this mask since; theirs stands");
    });
  }

  /** One change after the other; conflicts show what others did. */
  async #working(work) {
    this.#deciding = this.#turn.signal;
    this.#frame.setBusy(true);
    try {
      await work();
    } catch (error) {
      if (error.status === 409 && error.data?.record) await this.#conflict(error.data.record);
      else this.#fail(error);
    } finally {
      this.#deciding = null;
      this.#frame.setBusy(false);
    }
  }

  async #conflict(record) {
    await tellConflict(record);
    await this.#show(record);
  }

  #stored(record, before) {
    if (before !== record.review) this.#queue.remember(record.image, before, record.review);
    this.#frame.showCounts(this.#queue);
    this.#write(record.image);
  }

  /** Whether nothing would be lost; whoever asks meanwhile gets the same answer. */
  mayLeave() {
    this.#leaving ??= this.#editor.mayLeave().finally(() => (this.#leaving = null));
    return this.#leaving;
  }

  #fail(error, again) {
    if (error.name === "AbortError") return; // nobody waits for it any more
    const retry = again && button({ icon: "refresh", text: "Try again", onClick: again });
    this.#frame.say(error.message, { warning: true }, retry);
    this.#announce(error.message);
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || event.altKey) return;
    if (isTyping(event)) {
      if (event.key === "Escape") this.#editor.canvas.stage.element.focus({ preventScroll: true });
      return;
    }
    if (this.#editor.handleKey(event)) return void event.preventDefault();
    const does = {
      accept: () => this.judge("accepted"),
      reject: () => this.judge("rejected"),
      undo: () => this.undo(),
      next: () => this.go(1),
      previous: () => this.go(-1),
    }[meaningOf(event)];
    if (!does || event.repeat) return;
    event.preventDefault();
    does();
  }
}
