// Boxes by keyboard: arrows move the selected box, with Shift its right and bottom sides, with Ctrl by single pixels.

import { moveBox, resizeBox } from "../canvas/boxes.js";

const STEP = 10; // CSS pixels
const SAME_CHANGE_MS = 900; // arrows that follow each other are one change to undo
const PAN = 60;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class BoxKeys {
  #stage;
  #last = { what: "", at: 0 };

  constructor(stage) {
    this.#stage = stage;
  }

  /**
   * An arrow key: `{box, amend}` to put in the place of the selected box, null where it panned, undefined for others.
   */
  handle(event, annotation) {
    const arrow = ARROWS[event.key];
    if (!arrow || event.altKey || event.metaKey) return undefined;
    const [dx, dy] = arrow;
    const box = annotation?.boxes[annotation.selected];
    if (!box) {
      this.#stage.panBy(-dx * PAN, -dy * PAN);
      return null;
    }
    const step = event.ctrlKey ? 1 : Math.max(1, Math.round(STEP / this.#stage.viewport.scale));
    const { width, height } = annotation;
    const moved = event.shiftKey
      ? resized(box, dx * step, dy * step, width, height)
      : moveBox(box, dx * step, dy * step, width, height);
    const what = `${annotation.image} ${annotation.selected} ${event.shiftKey}`;
    const amend = what === this.#last.what && event.timeStamp - this.#last.at < SAME_CHANGE_MS;
    this.#last = { what, at: event.timeStamp };
    return { box: moved, amend };
  }

  /** Something else happened: the next arrow begins a change of its own. */
  interrupt() {
    this.#last = { what: "", at: 0 };
  }

  /** A box in the middle of what is in sight, a quarter of it on each side. */
  newBox() {
    const [x0, y0, x1, y1] = this.#stage.viewport.visible();
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    const [dx, dy] = [(x1 - x0) / 8, (y1 - y0) / 8];
    return [cx - dx, cy - dy, cx + dx, cy + dy];
  }
}

/** The right and bottom sides moved; they stop one pixel from the others instead of turning the box over. */
function resized([x0, y0, x1, y1], dx, dy, width, height) {
  const right = Math.max(x0 + 1, x1 + dx);
  const bottom = Math.max(y0 + 1, y1 + dy);
  return resizeBox([x0, y0, x1, y1], { hx: 1, hy: 1 }, right, bottom, width, height);
}
