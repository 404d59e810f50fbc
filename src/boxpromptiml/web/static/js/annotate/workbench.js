// The annotate view's middle: one image at a time, what is done to it, and where it goes.

import { debounce } from "../dom.js";
import { tidyBox } from "../canvas/boxes.js";
import { ActiveTimer, watchActivity } from "./active-timer.js";
import { acceptanceOf, Annotation, contentOf, sameContent } from "./annotation.js";
import { BoxKeys } from "./box-keys.js";
import { Sharpener } from "./sharpener.js";

const MASK_NOTE = "The mask that was accepted is of other boxes now";
const VISITS_KEPT = 40; // images whose undo history is kept

export class Workbench {
  image = null;
  annotation = null;
  #parts;
  #record = null;
  #changed = false; // during this visit
  #previous = null;
  #visits = new Map(); // image -> {annotation, version}, for undo after coming back
  #turn = 0;
  #closed = false; // another view is shown: answers that come late open nothing, and say nothing
  #stepping = Promise.resolve();
  #maskNote = ""; // what the last change did to an accepted mask
  #decided = false; // about the image in sight: the next one is on its way
  #timer = new ActiveTimer();
  #unwatch = watchActivity(this.#timer);
  #keys;
  #sharpener;

  /** @param parts `{stage, tool, list, boxList, assist, layout, stats, outbox, records, pictures, ahead, context}`. */
  constructor(parts) {
    this.#parts = parts;
    this.#keys = new BoxKeys(parts.stage);
    this.#sharpener = new Sharpener(parts.stage, parts.pictures);
    const { stage, tool, boxList, assist, outbox, list, layout } = parts;
    stage.onViewChange = () => {
      layout.showZoom(stage.viewport.scale);
      if (this.annotation) this.#sharpener.check();
    };
    tool.enabled = this.#writable;
    tool.onChange = (index, box) => this.#edit(() => (index < 0 ? this.annotation.addBox(box) : this.#replace(index, box)));
    tool.onSelect = (index) => this.select(index);
    tool.onHover = (point) => layout.showPlace(point, this.annotation);
    boxList.onSelect = (index) => this.select(index);
    boxList.onEdit = (index, box) => this.#edit(() => this.#replace(index, box));
    boxList.onRemove = () => this.removeBox();
    boxList.onAdd = () => this.newBox();
    assist.onAccept = (boxes) => this.#edit(() => this.annotation.setBoxes([...this.annotation.boxes, ...this.#tidy(boxes)]));
    list.onOpen = (image) => {
      layout.closeDrawers();
      this.open(image);
    };
    list.onFound = (image) => {
      if (!image) return this.say("No image matches.");
      layout.closeDrawers();
      stage.element.focus();
      return this.open(image);
    };
    list.pendingOf = (image) => outbox.pending(image);
    list.onFilter = () => {
      if (!this.image || this.#closed) return;
      this.#writeAddress();
      this.#prepare();
    };
    outbox.onSaved = (record) => this.#saved(record);
    document.addEventListener("visibilitychange", this.#hidden);
    addEventListener("pagehide", this.#hidden);
  }

  close() {
    this.#leave();
    if (this.image) this.#writeAddress(); // with what was typed a moment ago
    this.#closed = true;
    this.annotation = null;
    this.#turn += 1;
    this.#unwatch();
    this.#sharpener.close();
    document.removeEventListener("visibilitychange", this.#hidden);
    removeEventListener("pagehide", this.#hidden);
  }

  /** Show an image, ready to draw on as soon as its record and any picture of it are there. */
  async open(image) {
    if (this.#closed || (image === this.image && this.annotation)) return;
    this.#leave();
    const turn = ++this.#turn;
    const { records, ahead, stage, tool, assist, layout, context, list } = this.#parts;
    ahead.turnTo(image);
    this.#previous = this.image;
    this.image = image;
    this.annotation = null;
    this.#record = null;
    tool.show(null);
    assist.open(null);
    delete stage.element.dataset.ready;
    this.#writeAddress();
    layout.showNotice(null);
    list.setImage(image);
    const wanted = () => turn === this.#turn;
    try {
      const aged = records.ready(image) && !records.isFresh(image);
      const record = records.ready(image) ?? (await records.load(image));
      if (!wanted()) return;
      await this.#showPicture(record, wanted);
      if (!wanted()) return;
      // What was saved while the picture came is newer.
      const known = records.ready(image);
      this.#begin(known?.version > record.version ? known : record);
      this.#prepare();
      if (aged) this.#refresh(image, wanted);
    } catch (error) {
      if (!wanted() || error.name === "AbortError") return;
      stage.setImage(null, 1, 1);
      this.#render();
      layout.showNotice(`${image} can't be shown: ${error.message}.`, () => ((this.image = null), this.open(image)));
      if (error.temporary) setTimeout(() => wanted() && ((this.image = null), this.open(image)), 2000);
    }
  }

  #writeAddress() {
    const { context, list } = this.#parts;
    context.router.write("annotate", { ...list.filters, image: this.image });
  }

  acceptAndNext() {
    if (!this.annotation || this.#decided) return;
    if (this.annotation.state === "todo") {
      this.say("Draw a box first, or press A for authentic, S to skip.");
      return;
    }
    this.#leaveBehind();
  }

  authentic() {
    this.#decide(() => {
      const count = this.annotation.boxes.length;
      const { image } = this;
      this.annotation.markAuthentic();
      if (count) this.#offerUndo(`${count} box${count === 1 ? "" : "es"} removed: authentic`, image);
    });
  }

  skip() {
    if (this.annotation?.boxes.length && this.#writable && !this.#decided) {
      this.say("This image has boxes: delete them first, or press Enter.");
      return;
    }
    this.#decide(() => this.annotation.skip());
  }

  next = () => this.#step(1);
  previous = () => this.#step(-1);

  async nextUnlabelled() {
    const { context, outbox } = this.#parts;
    // The server counts this image as unlabelled until its change has arrived.
    outbox.flush();
    const todo = { state: "todo" };
    const image = await this.#ask(todo, () => context.api.next(this.image, todo, { wrap: true }));
    if (image && image !== this.image) this.open(image);
    else if (image === undefined) return; // it was said why
    else if (image === null || this.annotation?.state !== "todo") this.say("Nothing is left to label.");
    else this.say("This is the last unlabelled image.");
  }

  undo() {
    this.#edit(() => this.annotation.undo()) || this.say("Nothing to undo.");
  }

  redo() {
    this.#edit(() => this.annotation.redo()) || this.say("Nothing to redo.");
  }

  select(index) {
    if (!this.annotation) return;
    this.annotation.selected = index;
    this.#keys.interrupt();
    const box = this.annotation.boxes[index];
    if (box) this.#announceBox();
    this.#render();
  }

  selectNext = () => this.#selectStep(1);
  selectPrevious = () => this.#selectStep(-1);

  deselect() {
    const { tool } = this.#parts;
    if (tool.busy) tool.cancel();
    else this.select(-1);
  }

  removeBox() {
    const index = this.annotation?.selected ?? -1;
    if (index < 0) return;
    if (this.#edit(() => this.annotation.removeBox(index))) this.#offerUndo(`Box ${index + 1} deleted`, this.image);
  }

  newBox() {
    const { stage } = this.#parts;
    this.#edit(() => this.annotation.addBox(tidyBox(this.#keys.newBox(), this.annotation.width, this.annotation.height)));
    stage.element.focus();
    this.#announceBox();
  }

  /** An arrow key over the picture. Returns whether it was one. */
  arrow(event) {
    const change = this.#keys.handle(event, this.annotation);
    if (change === undefined) return false;
    if (change === null || !this.#writable) return true;
    this.#edit(() => this.annotation.replaceBox(this.annotation.selected, change.box, { amend: change.amend }), { key: true });
    this.#parts.stage.reveal(this.annotation.boxes[this.annotation.selected]);
    this.#announceBox();
    return true;
  }

  toggleBoxes() {
    const { tool, stage } = this.#parts;
    tool.layer.visible = tool.layer.visible === false;
    stage.invalidate();
    this.#parts.context.announce(tool.layer.visible ? "Boxes shown" : "Boxes hidden");
  }

  get #writable() {
    return !this.#parts.context.session.read_only;
  }

  #begin(record) {
    const { outbox, tool, assist, stage, context, layout } = this.#parts;
    const { image } = record;
    this.#record = record;
    const content = outbox.pending(image) ?? contentOf(record);
    const visit = this.#visits.get(image);
    // Undo goes back beyond this visit as long as nobody else changed the image in between.
    this.annotation = visit && sameContent(visit.content, content) ? visit : new Annotation(record, content);
    this.annotation.selected = -1;
    this.#changed = false;
    this.#keys.interrupt();
    this.#timer.pause(performance.now());
    this.#timer.take(performance.now());
    if (!document.hidden) this.#timer.activity(performance.now());
    tool.show(this.annotation);
    assist.open(image, this.annotation.boxes);
    this.#render();
    layout.showPlace(null, this.annotation);
    stage.element.setAttribute("aria-label", `${image}, ${record.width} by ${record.height} pixels`);
    stage.element.dataset.ready = image;
    context.announce(`${image}, ${this.#spoken()}`);
  }

  #leave() {
    if (!this.annotation) return;
    this.#timer.pause(performance.now());
    this.#sendTime();
    this.#visits.delete(this.image);
    this.#visits.set(this.image, this.annotation);
    if (this.#visits.size > VISITS_KEPT) this.#visits.delete(this.#visits.keys().next().value);
    this.#parts.outbox.flush();
  }

  /** Looking without changing anything is not annotating: only visits with a change count. */
  #sendTime() {
    const seconds = this.#timer.take(performance.now());
    if (this.#changed && seconds > 0) this.#parts.outbox.change(this.#record, this.annotation.content, seconds);
  }

  #hidden = (event) => {
    if (event.type !== "pagehide" && !document.hidden) return;
    this.#timer.pause(performance.now());
    if (!this.annotation || !this.#changed) return;
    this.#sendTime();
    this.#parts.outbox.flush();
  };

  /** Make a change; true if it was one. */
  #edit(change, { key = false } = {}) {
    if (!this.annotation || !this.#writable) return false;
    // A box that is being dragged goes by its place among the others, which may be another one after this.
    this.#parts.tool.cancel();
    const before = this.annotation.content;
    change();
    const after = this.annotation.content;
    if (!key) this.#keys.interrupt();
    if (sameContent(before, after)) {
      this.#render();
      return false;
    }
    this.#changed = true;
    const accepted = acceptanceOf(this.#record, before.boxes) === "accepted";
    this.#maskNote = accepted && acceptanceOf(this.#record, after.boxes) === "stale" ? MASK_NOTE : "";
    this.#parts.outbox.change(this.#record, after, this.#timer.take(performance.now()));
    if (before.boxes !== after.boxes) this.#parts.assist.boxesChanged(after.boxes);
    this.#parts.list.refresh();
    this.#render();
    if (this.#maskNote) this.#offerBack(this.#maskNote, this.image, () => this.#edit(() => this.annotation.restore(before)));
    return true;
  }

  #replace(index, box) {
    this.annotation.selected = index;
    return this.annotation.replaceBox(index, box);
  }

  #tidy(boxes) {
    return boxes.map((box) => tidyBox(box, this.annotation.width, this.annotation.height));
  }

  /** A decision with one key: change, then the next image. */
  #decide(change) {
    if (!this.annotation || !this.#writable || this.#decided) return;
    this.#edit(change);
    this.#leaveBehind();
  }

  /** Decisions are about what one sees: a second key counts again once the next image is there. */
  #leaveBehind() {
    this.#decided = true;
    this.next();
    this.#stepping = this.#stepping.finally(() => (this.#decided = false));
  }

  /** One after the other: a key that is pressed three times goes three images on. */
  #step(direction) {
    this.#stepping = this.#stepping.then(() => this.#stepOnce(direction));
  }

  async #stepOnce(direction) {
    const { ahead, list } = this.#parts;
    const { image } = this;
    if (!image) return;
    const next = await this.#ask(list.filters, () => ahead.step(image, list.filters, direction));
    if (this.image !== image) return;
    if (next) this.open(next);
    else if (next === null) this.say(direction > 0 ? "This is the last image of the list." : "This is the first image of the list.");
  }

  /**
   * The image that `beside` answers with; the first of all where the dataset has no such image as the present one.
   * Undefined where nothing is known, which is said.
   */
  async #ask(filters, beside) {
    try {
      return await beside().catch((error) => {
        if (error.status !== 404) throw error;
        return this.#parts.context.api.next(null, filters);
      });
    } catch (error) {
      this.say(`The next image is not known: ${error.message}.`);
      return undefined;
    }
  }

  #selectStep(step) {
    const { boxes, selected } = this.annotation ?? { boxes: [] };
    if (!boxes.length) return;
    const first = step > 0 ? 0 : boxes.length - 1;
    this.select(selected < 0 ? first : (selected + step + boxes.length) % boxes.length);
    this.#parts.stage.reveal(this.annotation.boxes[this.annotation.selected]);
  }

  /** The best picture that is at hand, or else the first that comes; better ones follow. */
  async #showPicture(record, wanted) {
    const { pictures, stage } = this.#parts;
    const { image, width, height } = record;
    const there = pictures.ready(image, "view") ?? pictures.ready(image, "thumb");
    stage.setImage(there, width, height);
    this.#sharpener.open(record);
    const view = pictures.load(image, "view");
    view.then((bitmap) => wanted() && bitmap !== there && this.#sharpener.add(bitmap)).catch(() => {});
    if (there) return;
    const thumb = pictures.load(image, "thumb");
    thumb.then((bitmap) => wanted() && !stage.sharpest && this.#sharpener.add(bitmap)).catch(() => {});
    await Promise.any([view, thumb]).catch((error) => {
      throw error.errors[0];
    });
  }

  /** The record was read some time ago: if somebody changed it since and nothing was done here, show that. */
  async #refresh(image, wanted) {
    const { records, outbox } = this.#parts;
    const old = this.#record;
    const record = await records.reload(image).catch(() => null);
    if (!record || !wanted() || record.version === old.version || this.#record !== old) return;
    if (this.#changed || outbox.pending(image)) return;
    this.#begin(record);
  }

  #prepare() {
    const { ahead, list } = this.#parts;
    ahead.prepare(this.image, list.filters, this.#previous);
  }

  #saved(record) {
    const { records, list, stats } = this.#parts;
    records.put(record);
    list.saved(record);
    stats.refreshSoon();
    if (record.image === this.image && this.annotation) {
      this.#record = record;
      this.#render();
      // Somebody else's version was taken.
      if (!this.#parts.outbox.pending(record.image) && !sameContent(contentOf(record), this.annotation.content)) this.#begin(record);
    }
  }

  /** The server refuses to call an image authentic: what was said of it before stands again. */
  async withdrawAuthentic(image) {
    const { records, outbox } = this.#parts;
    outbox.discard(image);
    const record = await records.reload(image).catch(() => null);
    const annotation = image === this.image ? this.annotation : this.#visits.get(image);
    const back = record && annotation?.content.label === "authentic" && annotation.undo();
    if (back && !sameContent(contentOf(record), annotation.content)) outbox.change(record, annotation.content, 0);
    await this.reload(image);
  }

  /** Theirs was taken, or a change given up: show what the server has. */
  async reload(image) {
    this.#visits.delete(image);
    const { records, list } = this.#parts;
    list.refresh();
    const record = await records.reload(image).catch(() => null);
    if (record && image === this.image && !this.#closed) this.#begin(record);
  }

  /** A change that another page left behind is to be saved from here: it is shown, so that the next one goes on from it. */
  adopted(image) {
    const { list, outbox, assist, context } = this.#parts;
    list.refresh();
    if (image !== this.image || !this.annotation) return;
    // One more change of this visit: it can be undone, and the clock goes on.
    this.annotation.restore(outbox.pending(image));
    this.annotation.selected = -1;
    this.#keys.interrupt();
    assist.boxesChanged(this.annotation.boxes);
    this.#render();
    context.announce(`${image}, ${this.#spoken()}`);
  }

  /** Whether a box of this image is being drawn: other boxes now would take it out of the person's hand. */
  isInHand(image) {
    return image === this.image && this.#parts.tool.busy;
  }

  #offerUndo(text, image) {
    this.#offerBack([text, this.#maskNote].filter(Boolean).join(". "), image, () => this.undo());
  }

  #offerBack(text, image, goBack) {
    const undo = async () => {
      if (this.image !== image) await this.open(image);
      if (this.image === image && this.annotation) goBack();
    };
    this.#parts.layout.showToast(text, { action: "Undo", onAction: undo });
    this.#parts.context.announce(text);
  }

  /** Tell something to those who see and to those who hear. */
  say(text) {
    if (this.#closed) return;
    this.#parts.layout.showToast(text);
    this.#parts.context.announce(text);
  }

  #spoken() {
    const { state, boxes } = this.annotation;
    const acceptance = acceptanceOf(this.#record, boxes);
    const mask = acceptance === "accepted" ? ", mask accepted" : acceptance && ", mask of other boxes";
    return (state === "boxed" ? `${boxes.length} box${boxes.length === 1 ? "" : "es"}` : state === "todo" ? "to do" : state) + mask;
  }

  #announceBox = debounce(() => {
    const box = this.annotation?.boxes[this.annotation.selected];
    if (box) this.#parts.context.announce(`Box ${this.annotation.selected + 1}: left ${box[0]}, top ${box[1]}, right ${box[2]}, bottom ${box[3]}`);
  }, 300);

  #render() {
    const { layout, boxList, stage } = this.#parts;
    const acceptance = this.annotation ? acceptanceOf(this.#record, this.annotation.boxes) : "";
    layout.showImage(this.image, this.annotation, this.#writable, acceptance);
    boxList.show(this.annotation, this.#writable);
    stage.invalidate();
  }
}
