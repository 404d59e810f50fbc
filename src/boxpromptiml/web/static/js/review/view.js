// The review view: walks through the pseudo masks, the suspicious ones first.

import { button, fill, h, isTyping } from "../dom.js";
import { Editor } from "./editor.js";
import { Frame, nothingHere } from "./frame.js";
import { tellConflict } from "./questions.js";
import { FILTERS, ReviewQueue } from "./queue.js";

const SHORTCUTS = [
  { keys: "A Enter", text: "accept (with strokes: store them as your mask)" },
  { keys: "R", text: "reject" },
  { keys: "U", text: "take the last verdict back" },
  { keys: "→ N PageDown", text: "next mask" },
  { keys: "← P PageUp", text: "previous mask" },
  { keys: "V B", text: "look; draw boxes" },
  { keys: "I X", text: "click what belongs, what does not" },
  { keys: "D E", text: "brush, eraser" },
  { keys: "[ ]", text: "smaller, larger brush" },
  { keys: "Ctrl+Z Ctrl+Shift+Z", text: "undo, redo a stroke, box or click" },
  { keys: "Delete", text: "remove the selected box" },
  { keys: "S", text: "store my mask" },
  { keys: "T", text: "make the mask again with the teacher" },
  { keys: "M", text: "fill, outline, mask alone" },
  { keys: "H G", text: "mask, boxes on or off" },
  { keys: ", .", text: "less, more opacity" },
  { keys: "↑ ↓ ← → Enter", text: "on the image, with a drawing tool: move, press, lift" },
  { keys: "+ - 0 1", text: "zoom in, out, fit, 100 %" },
];

export async function mount(root, context) {
  const view = new ReviewView(root, context);
  await view.start(context.router.current.params);
  return {
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
  async #open(image) {
    const turn = ++this.#turn;
    const wanted = () => turn === this.#turn;
    try {
      const name = image ?? (await this.#queue.first());
      if (!wanted()) return;
      if (name === null) return void this.#showNothing();
      const record = await this.#api.record(name);
      if (wanted()) await this.#show(record);
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
    this.#write(record.image);
    try {
      await this.#editor.show(record, wanted);
      if (!wanted()) return;
      this.#announce(`${record.image}. ${this.#editor.summary}`);
    } catch (error) {
      if (wanted()) this.#fail(error, () => this.#open(record.image));
      return;
    }
    // Not waited for: a person may go on as soon as the mask is seen.
    this.#around(record, wanted).catch((error) => wanted() && this.#fail(error));
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
    this.#editor.clear();
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

  #write(image = this.#editor.record?.image) {
    if (this.#left) return;
    const { filter } = this.#queue;
    this.#router.replace("review", { review: filter === "open" ? null : filter, image });
  }

  async go(direction) {
    const { record } = this.#editor;
    if (!record || this.#busy || this.#going) return;
    this.#going = true;
    try {
      // Asked first: what is stored on leaving may move the image to another place among the others.
      const next = await this.#queue.beside(record.image, direction);
      if (!(await this.#mayLeave())) return;
      if (next !== null) await this.#open(next);
      else this.#announce("There is no other mask among these");
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#going = false;
    }
  }

  async judge(verdict) {
    const { record } = this.#editor;
    if (!record?.pseudo && !this.#editor.painted?.changed) return;
    if (this.#readOnly || this.#busy || this.#waits()) return;
    await this.#working(async () => {
      const next = await this.#queue.beside(record.image, 1);
      if (verdict === "accepted" && this.#editor.painted?.changed) {
        if (!(await this.#editor.store())) return;
        if (this.#editor.changed) return this.#tell("Your mask is stored, but not what was changed since");
      } else {
        if (!(await this.#mayLeave())) return;
        // Nobody judges a mask that was not there when the key was pressed.
        if (this.#editor.record.version !== record.version) return this.#tell("This mask is new: look at it, then decide");
        await this.#queue.judge(record, verdict);
      }
      this.#announce(verdict === "accepted" ? "Accepted" : "Rejected");
      this.#frame.showCounts(this.#queue);
      if (next !== null) await this.#open(next);
      else if (this.#queue.filter === verdict) await this.#open(record.image);
      else this.#showNothing();
    });
  }

  /** Whether a verdict has to wait, said in words: nobody accepts a mask that they have not seen yet. */
  #waits() {
    if (!this.#editor.busy) return false;
    this.#tell(`${this.#doing}: decide when it is there`);
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
      const record = await this.#queue.undo();
      this.#frame.actions.append(this.#frame.undo);
      await this.#show(record);
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
    if (event.ctrlKey || event.metaKey) return;
    const onControl = event.target.matches("button, a, input, summary");
    if (event.key.startsWith("Arrow") && event.target.matches("input")) return;
    if (event.key === "Enter" && onControl) return;
    const does = {
      a: () => this.judge("accepted"), Enter: () => this.judge("accepted"), r: () => this.judge("rejected"), u: () => this.undo(),
      n: () => this.go(1), ArrowRight: () => this.go(1), p: () => this.go(-1), ArrowLeft: () => this.go(-1),
      PageDown: () => this.go(1), PageUp: () => this.go(-1),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!does || event.repeat) return;
    event.preventDefault();
    does();
  }
}
