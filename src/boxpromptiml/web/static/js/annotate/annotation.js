// What is said of one image: boxes, label, skipped, with undo. Knows neither the page nor the server.

import { sameBoxes, tidyBox } from "../canvas/boxes.js";
import { History } from "../canvas/history.js";

/** The part of a record that a person decides. */
export const contentOf = ({ boxes, label, skipped }) => ({ boxes, label, skipped: Boolean(skipped) });

export const sameContent = (a, b) =>
  a.label === b.label && Boolean(a.skipped) === Boolean(b.skipped) && sameBoxes(a.boxes, b.boxes);

/** The state's name, as the server tells it. */
export function stateOf({ boxes, label, skipped }) {
  if (boxes.length) return "boxed";
  if (label === "authentic") return "authentic";
  return skipped ? "skipped" : "todo";
}

/** What is to be said of an image's accepted mask, with these boxes: "accepted", "stale", or "" where there is none. */
export function acceptanceOf(record, boxes) {
  if (record?.review !== "accepted" || !record.pseudo) return "";
  return record.pseudo.stale || !sameBoxes(boxes, record.boxes) ? "stale" : "accepted";
}

export class Annotation {
  selected = -1;
  #history;
  #labelWithoutBoxes;
  #going = false; // the last change may go on

  /** @param record as the server sends it. @param content what is newer than the record, not yet sent. */
  constructor(record, content = null) {
    this.image = record.image;
    this.width = record.width;
    this.height = record.height;
    this.#history = new History(content ?? contentOf(record), sameContent);
    // Without its boxes an image is what it was called when it was opened: who called it tampered, an import or a person
    // with a box, is not on record, and boxes that are deleted do not say that it is none.
    this.#labelWithoutBoxes = record.label === "tampered" ? "tampered" : null;
  }

  get content() {
    return this.#history.state;
  }

  get boxes() {
    return this.content.boxes;
  }

  get state() {
    return stateOf(this.content);
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  /** Other boxes: the image is tampered as long as there is one. `amend`: the last change went on. */
  setBoxes(boxes, { amend = false } = {}) {
    const label = boxes.length ? "tampered" : this.#labelWithoutBoxes;
    const content = { boxes, label, skipped: false };
    if (sameContent(content, this.content)) return false;
    // A change that led back to where it began is over: the next one is a change of its own.
    if (amend && this.#going && this.#history.canUndo) this.#going = this.#history.amend(content);
    else this.#going = this.#history.push(content);
    this.#keepSelection();
    return true;
  }

  addBox(box) {
    this.setBoxes([...this.boxes, box]);
    this.selected = this.boxes.length - 1;
  }

  replaceBox(index, box, options) {
    const tidy = tidyBox(box, this.width, this.height);
    return this.setBoxes(this.boxes.map((old, i) => (i === index ? tidy : old)), options);
  }

  removeBox(index) {
    if (!this.boxes[index]) return false;
    this.setBoxes(this.boxes.filter((_, i) => i !== index));
    this.selected = Math.min(index, this.boxes.length - 1);
    return true;
  }

  markAuthentic() {
    this.selected = -1;
    return this.#history.push({ boxes: [], label: "authentic", skipped: false });
  }

  /** A person looked and decided not to say anything now. Boxes that are there stay, and say more than a skip. */
  skip() {
    if (this.boxes.length) return false;
    return this.#history.push({ boxes: [], label: this.#labelWithoutBoxes, skipped: true });
  }

  /** Back to what was said before, as one more change. */
  restore(content) {
    return this.#history.push(content) && this.#keepSelection();
  }

  undo() {
    return this.#history.undo() && this.#keepSelection();
  }

  redo() {
    return this.#history.redo() && this.#keepSelection();
  }

  #keepSelection() {
    this.selected = Math.min(this.selected, this.boxes.length - 1);
    return true;
  }
}
