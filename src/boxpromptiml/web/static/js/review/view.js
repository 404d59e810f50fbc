// The review view: walks through the pseudo masks, the suspicious ones first.

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
  #turn = 0; // an answer about an image that was left is not shown
  #busy = false;
  #going = false;
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
        accept: (event) => this.#pressed(event, () => this.judge("accepted")),
        reject: (event) => this.#pressed(event, () => this.judge("rejected")),
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
  }

  async start({ image, review }) {
    if (FILTERS[review]) this.#queue.filter = review;
    fill(this.#root, this.layout);
    this.#frame.showCounts(this.#queue);
    await this.#open(image ?? null);
  }

  async navigate({ image, review }) {
    if (!(await this.mayLeave())) return;
    if (FILTERS[review]) this.#queue.filter = review;
    await this.#open(image ?? null);
  }

  /** Whether the address may show something else; where it may not, it is put back. */
  async mayLeave() {
    const may = await this.#mayLeave();
    if (!may) this.#write();
    return may;
  }

  async destroy() {
    this.#turn += 1;
    this.#abort.abort();
    this.#editor.destroy();
  }

  async setFilter(name) {
    if (!(await this.#mayLeave())) return;
    this.#queue.filter = name;
    await this.#open(null);
  }

  /** Show an image; null for the first one of the filter. */
  #open(image) {
    return this.#held(() => this.#load(image));
  }

  async #load(image) {
    const turn = ++this.#turn;
    const wanted = () => turn === this.#turn;
    try {
      const name = image ?? (await this.#queue.first());
      if (!wanted()) return;
      if (name === null) return void this.#showNothing();
      try {
        const record = await this.#api.record(name);
        if (wanted()) await this.#show(record);
      } catch (error) {
        if (wanted()) this.#showMissing(name, error);
      }
    } catch (error) {
      if (wanted()) this.#fail(error, () => this.#open(image));
    }
  }

  async #show(record) {
    if (this.#left) return;
    const turn = ++this.#turn;
    const wanted = () => turn === this.#turn;
    if (!this.layout.isConnected) fill(this.#root, this.layout);
    this.#frame.hush();
    this.#image = record.image;
    this.#write(record.image);
    try {
      await this.#held(() => this.#editor.show(record, wanted));
      if (!wanted()) return;
      this.#frame.setSeen(true);
      this.#announce(`${record.image}. ${this.#editor.summary}`);
    } catch (error) {
      if (wanted()) this.#showMissing(record.image, error);
      return;
    }
    // Not waited for: a person may go on as soon as the mask is seen.
    this.#around(record, wanted).catch((error) => wanted() && this.#fail(error));
  }

  /** An image that cannot be shown: nothing of the one before is left that could be taken for it, or judged. */
  #showMissing(image, error) {
    if (this.#left) return;
    const turn = ++this.#turn;
    if (!this.layout.isConnected) fill(this.#root, this.layout);
    this.#image = image;
    this.#editor.clear(image);
    this.#frame.setSeen(false);
    this.#frame.showPlace(null);
    this.#write(image);
    this.#fail(error, () => this.#open(image));
    // What is wrong has been said; without its place one can go on as well.
    this.#around({ image }, () => turn === this.#turn).catch(() => {});
  }

  /** While another image is on its way nothing is drawn on the one that is seen: it would be lost with it. */
  async #held(work) {
    const release = this.#editor.hold(`${LOADING}: go on when it is there`);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** What is around the image: its place, counts that others may have changed, and the next one, fetched ahead. */
  async #around({ image }, wanted) {
    const [place, session, next] = await Promise.all([this.#queue.position(image), this.#api.session(), this.#queue.beside(image, 1)]);
    if (!wanted()) return;
    this.#queue.setCounts(session.counts);
    this.#frame.showCounts(this.#queue);
    this.#frame.showPlace(place);
    if (next === null) return;
    const record = await this.#api.record(next);
    if (wanted()) this.#editor.prefetch(record);
  }

  #showNothing() {
    if (this.#left) return;
    this.#turn += 1;
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
    this.#router.replace("review", { review: filter === "open" ? null : filter, image });
  }

  async go(direction) {
    if (this.#image === null || this.#busy || this.#going) return;
    this.#going = true;
    try {
      // Asked first: what is stored on leaving may move the image to another place among the others.
      const next = await this.#beside(this.#image, direction);
      if (!(await this.#mayLeave())) return;
      if (next !== null) await this.#open(next);
      else this.#announce("There is no other mask among these");
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#going = false;
    }
  }

  /** The image beside another one; the first one where the dataset does not know that. */
  async #beside(image, direction) {
    try {
      return await this.#queue.beside(image, direction);
    } catch (error) {
      if (error.status !== 404) throw error;
      return this.#queue.first();
    }
  }

  async judge(verdict) {
    if (this.#readOnly || this.#busy || this.#waits()) return;
    const { record } = this.#editor;
    if (!record) return void this.#tell("No mask is seen: there is nothing to judge");
    if (!record.pseudo && !this.#editor.painted.changed) return;
    await this.#working(async () => {
      const next = await this.#queue.beside(record.image, 1);
      const painted = verdict === "accepted" && this.#editor.painted.changed;
      if (painted) {
        if (!(await this.#editor.store())) return;
        if (this.#editor.changed) return this.#tell("Your mask is stored, but not what was changed since");
      } else {
        if (!(await this.#mayLeave())) return;
        // Nobody judges a mask that was not there when the key was pressed.
        if (this.#editor.record.version !== record.version) return this.#tell("This mask is new: look at it, then decide");
      }
      await this.#held(async () => {
        if (!painted) await this.#queue.judge(record, verdict);
        this.#announce(verdict === "accepted" ? "Accepted" : "Rejected");
        this.#frame.showCounts(this.#queue);
        if (next !== null) await this.#open(next);
        else if (this.#queue.filter === verdict) await this.#open(record.image);
        else this.#showNothing();
      });
    });
  }

  /** Whether a verdict has to wait, said in words: nobody accepts a mask that they have not seen yet. */
  #waits() {
    const { busy, canvas } = this.#editor;
    if (!busy && !canvas.held && !this.#going) return false;
    this.#tell(`${busy ? this.#doing : LOADING}: decide when it is there`);
    return true;
  }

  #tell(text) {
    this.#frame.toast(text);
    this.#announce(text);
  }

  /** After a click the keys are the image's: Enter on the button would give the same verdict to the next mask. */
  #pressed(event, act) {
    if (event.detail > 0) this.#editor.canvas.stage.element.focus({ preventScroll: true });
    act();
  }

  async undo() {
    if (!this.#queue.canUndo || this.#busy || this.#waits() || !(await this.#mayLeave())) return;
    await this.#working(async () => {
      const record = await this.#held(async () => {
        const undone = await this.#queue.undo();
        this.#frame.actions.append(this.#frame.undo);
        await this.#show(undone);
        return undone;
      });
      this.#announce(record.undone ? "Verdict taken back" : "Somebody else has judged this mask since; theirs stands");
    });
  }

  /** One change after the other; conflicts show what others did. */
  async #working(work) {
    this.#busy = true;
    this.#frame.setBusy(true);
    try {
      await work();
    } catch (error) {
      if (error.status === 409 && error.data?.record) await this.#conflict(error.data.record);
      else this.#fail(error);
    } finally {
      this.#busy = false;
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
  #mayLeave() {
    this.#leaving ??= this.#editor.mayLeave().finally(() => (this.#leaving = null));
    return this.#leaving;
  }

  #fail(error, again) {
    const retry = again && button({ icon: "refresh", text: "Try again", onClick: again });
    this.#frame.say(error.message, { warning: true }, retry);
    this.#announce(error.message);
  }

  #key(event) {
    if (isTyping(event) || document.querySelector("dialog[open]") || event.altKey) return;
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
