// What the teacher is asked with: boxes and points, with undo. Pure.

import { insideBox, boxArea, sameBoxes } from "../canvas/boxes.js";
import { History } from "../canvas/history.js";

const same = (a, b) => sameBoxes(a.boxes, b.boxes) && JSON.stringify(a.points) === JSON.stringify(b.points);

/** `boxes`, `selected`, `width` and `height` are what the box tool shows. Points are [x, y, positive, box]. */
export class Prompts {
  selected = -1;
  #history;
  #first;

  constructor(boxes, width, height) {
    this.width = width;
    this.height = height;
    this.#first = { boxes, points: [] };
    this.#history = new History(this.#first, same);
  }

  get boxes() {
    return this.#history.state.boxes;
  }

  get points() {
    return this.#history.state.points;
  }

  /** Whether the teacher would be asked something else than before. */
  get changed() {
    return !same(this.#history.state, this.#first);
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  /** Put a box in the place of another; index -1 adds it. Points that say what belongs go where it leaves them outside. */
  putBox(index, box) {
    const boxes = index < 0 ? [...this.boxes, box] : this.boxes.map((old, i) => (i === index ? box : old));
    const points = this.points.filter(([x, y, positive, owner]) => owner !== index || !positive || insideBox(box, x + 0.5, y + 0.5));
    this.selected = index < 0 ? boxes.length - 1 : index;
    return this.#history.push({ boxes, points });
  }

  /** Remove a box and its points. */
  removeBox(index) {
    const boxes = this.boxes.filter((_, i) => i !== index);
    const points = this.points
      .filter(([, , , box]) => box !== index)
      .map(([x, y, positive, box]) => [x, y, positive, box > index ? box - 1 : box]);
    this.selected = -1;
    return this.#history.push({ boxes, points });
  }

  /** Whether a pixel lies in a box: outside of them nothing can be said to belong to the manipulation. */
  covers(x, y) {
    return this.boxes.some((box) => insideBox(box, x + 0.5, y + 0.5));
  }

  /** A point for the smallest box around it, else for the nearest one. Returns false where there is no box. */
  addPoint(x, y, positive) {
    const box = this.#boxAt(x + 0.5, y + 0.5);
    return box >= 0 && this.#history.push({ boxes: this.boxes, points: [...this.points, [x, y, positive, box]] });
  }

  removePoint(index) {
    return this.#history.push({ boxes: this.boxes, points: this.points.filter((_, i) => i !== index) });
  }

  undo() {
    this.selected = -1;
    return this.#history.undo();
  }

  redo() {
    this.selected = -1;
    return this.#history.redo();
  }

  #boxAt(x, y) {
    let best = -1;
    let least = Infinity;
    this.boxes.forEach((box, i) => {
      // Boxes around the point come first, ordered by area; the others by how far away they are.
      const apart = Math.hypot(Math.max(box[0] - x, 0, x - box[2]), Math.max(box[1] - y, 0, y - box[3]));
      const rank = insideBox(box, x, y) ? -1 / boxArea(box) : apart;
      if (rank < least) [best, least] = [i, rank];
    });
    return best;
  }
}
