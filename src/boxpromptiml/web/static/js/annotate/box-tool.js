// Draws, moves and resizes boxes with a pointer, and paints them.

import { boxBetween, cursorFor, hitTest, insideBox, moveBox, resizeBox, HANDLES, handlePoint } from "../canvas/boxes.js";
import { palette } from "./palette.js";

// CSS pixels. A finger hides what it touches, and never lies still.
const REACH = { mouse: 7, pen: 9, touch: 20 };
const DEAD = { mouse: 3, pen: 4, touch: 8 };
const GRIP = 4.5;
const HALO = "rgb(0 0 0 / 65%)";

export class BoxTool {
  onChange = () => {}; // boxes or selection changed: (index, box) to put there, index -1 for a new one
  onSelect = () => {};
  onHover = () => {}; // image pixels, or null
  enabled = true;
  #stage;
  #annotation = null;
  #boxes = null; // of the annotation as it was shown last
  #gesture = null;
  #pointer = null;

  constructor(stage) {
    this.#stage = stage;
    stage.tool = this;
    this.layer = stage.addLayer({ draw: (ctx, viewport) => this.#draw(ctx, viewport) });
    this.crosshair = stage.addLayer({ draw: (ctx, viewport) => this.#drawCrosshair(ctx, viewport) });
  }

  /** The annotation whose boxes are shown and changed; null for none. What is being drawn goes on over the same boxes. */
  show(annotation) {
    const boxes = annotation?.boxes ?? null;
    if (annotation !== this.#annotation || boxes !== this.#boxes) this.#gesture = null;
    this.#annotation = annotation;
    this.#boxes = boxes;
    this.#stage.invalidate();
  }

  get busy() {
    return this.#gesture !== null;
  }

  down(point) {
    if (!this.#annotation || !this.enabled) return;
    const hit = point.event.shiftKey ? null : this.#hit(point);
    const box = hit && this.#annotation.boxes[hit.index];
    this.#gesture = { from: point, to: point, hit, original: box, box: null, dead: DEAD[point.type] ?? 3 };
    this.#pointer = point.type === "touch" ? null : point;
  }

  move(point) {
    const gesture = this.#gesture;
    if (!gesture) return;
    gesture.to = point;
    this.#pointer = point.type === "touch" ? null : point;
    const { from, hit, original } = gesture;
    if (!gesture.box && Math.hypot(point.sx - from.sx, point.sy - from.sy) < gesture.dead) return;
    const { width, height } = this.#annotation;
    if (!hit) {
      gesture.box = boxBetween(from.x, from.y, point.x, point.y, width, height);
    } else if (hit.handle) {
      gesture.box = resizeBox(original, hit.handle, ...this.#draggedSide(gesture, point), width, height);
    } else {
      gesture.box = moveBox(original, point.x - from.x, point.y - from.y, width, height);
    }
    this.onHover(point);
    this.#stage.invalidate();
  }

  up(point) {
    const gesture = this.#gesture;
    if (!gesture) return;
    this.move(point);
    this.#gesture = null;
    const index = gesture.hit ? gesture.hit.index : -1;
    if (gesture.box && this.#reachesImage(gesture)) this.onChange(index, gesture.box);
    else this.onSelect(index);
    this.#stage.invalidate();
  }

  cancel() {
    this.#gesture = null;
    this.#stage.invalidate();
  }

  hover(point) {
    this.#pointer = point;
    this.onHover(point);
    this.#stage.invalidate();
  }

  cursor(point) {
    if (!this.#annotation || !this.enabled) return "default";
    if (this.#gesture) return cursorFor(this.#gesture.hit);
    return cursorFor(point.event.shiftKey ? null : this.#hit(point));
  }

  #hit({ x, y, type }) {
    const { boxes, selected } = this.#annotation;
    return hitTest(boxes, x, y, (REACH[type] ?? 7) / this.#stage.viewport.scale, selected);
  }

  /** The pointer takes a side a little off its edge; the side keeps that distance. */
  #draggedSide({ from, hit, original }, point) {
    const [hx, hy] = handlePoint(original, hit.handle);
    return [point.x + hx - from.x, point.y + hy - from.y];
  }

  /** A box drawn all outside of the image would become a line of pixels at its border. */
  #reachesImage({ hit, from, to, box }) {
    if (hit) return true;
    const { width, height } = this.#annotation;
    const apart = (a, b, size) => (a <= 0 && b <= 0) || (a >= size && b >= size);
    return box !== null && !apart(from.x, to.x, width) && !apart(from.y, to.y, height);
  }

  #draw(ctx, viewport) {
    if (!this.#annotation) return;
    const { boxes, selected } = this.#annotation;
    const gesture = this.#gesture;
    const changed = gesture?.box && gesture.hit ? gesture.hit.index : -1;
    boxes.forEach((box, i) => {
      if (i === changed) return;
      this.#drawBox(ctx, viewport, box, { number: i + 1, selected: i === selected && !gesture?.box });
    });
    if (gesture?.box) {
      const number = changed < 0 ? boxes.length + 1 : changed + 1;
      this.#drawBox(ctx, viewport, gesture.box, { number, selected: true, live: true });
    }
  }

  #drawBox(ctx, viewport, box, { number, selected = false, live = false }) {
    const [left, top] = viewport.toScreen(box[0], box[1]);
    const [right, bottom] = viewport.toScreen(box[2], box[3]);
    const colour = palette().box;
    ctx.lineJoin = "miter";
    if (selected) {
      ctx.fillStyle = "rgb(255 149 0 / 12%)";
      ctx.fillRect(left, top, right - left, bottom - top);
    }
    ctx.strokeStyle = HALO;
    ctx.lineWidth = selected ? 4.5 : 4;
    ctx.strokeRect(left, top, right - left, bottom - top);
    ctx.strokeStyle = colour;
    ctx.lineWidth = selected ? 2.5 : 2;
    ctx.strokeRect(left, top, right - left, bottom - top);
    this.#drawTag(ctx, String(number), left, top, viewport, selected);
    if (live) this.#drawSize(ctx, box, right, bottom, viewport);
    else if (selected && this.enabled) this.#drawGrips(ctx, viewport, box);
  }

  #drawTag(ctx, text, left, top, viewport, selected) {
    ctx.font = "600 11px system-ui, sans-serif";
    const width = ctx.measureText(text).width + 9;
    const x = Math.min(Math.max(left - 1, 2), viewport.width - width);
    const y = top >= 19 ? top - 18 : Math.max(top + 3, 2);
    ctx.fillStyle = selected ? palette().box : HALO;
    ctx.beginPath();
    ctx.roundRect(x, y, width, 16, 4);
    ctx.fill();
    ctx.fillStyle = selected ? "#1b1200" : "#fff";
    ctx.textBaseline = "middle";
    ctx.fillText(text, x + 4.5, y + 8.5);
  }

  #drawSize(ctx, box, right, bottom, viewport) {
    const text = `${box[2] - box[0]} × ${box[3] - box[1]}`;
    ctx.font = "500 11px system-ui, sans-serif";
    const width = ctx.measureText(text).width + 12;
    const x = Math.min(right + 8, viewport.width - width - 4);
    const y = Math.min(bottom + 8, viewport.height - 24);
    ctx.fillStyle = "rgb(0 0 0 / 75%)";
    ctx.beginPath();
    ctx.roundRect(x, y, width, 19, 5);
    ctx.fill();
    ctx.fillStyle = "#fff";
    ctx.textBaseline = "middle";
    ctx.fillText(text, x + 6, y + 10);
  }

  #drawGrips(ctx, viewport, box) {
    const small = Math.min(box[2] - box[0], box[3] - box[1]) * viewport.scale < 36;
    for (const handle of HANDLES) {
      if (small && !(handle.hx && handle.hy)) continue;
      const [x, y] = viewport.toScreen(...handlePoint(box, handle));
      ctx.beginPath();
      ctx.rect(x - GRIP, y - GRIP, 2 * GRIP, 2 * GRIP);
      ctx.fillStyle = "#fff";
      ctx.fill();
      ctx.strokeStyle = "#5a3500";
      ctx.lineWidth = 1.5;
      ctx.stroke();
    }
  }

  #drawCrosshair(ctx, viewport) {
    const point = this.#pointer;
    if (!point || !this.#annotation || !this.enabled) return;
    const drawing = this.#gesture && !this.#gesture.hit;
    const { width, height } = this.#annotation;
    if (!drawing && (this.#gesture || !insideBox([0, 0, width, height], point.x, point.y) || this.#hit(point))) return;
    const line = (style, dash) => {
      ctx.strokeStyle = style;
      ctx.lineWidth = 1;
      ctx.setLineDash(dash);
      ctx.beginPath();
      ctx.moveTo(0, Math.round(point.sy) + 0.5);
      ctx.lineTo(viewport.width, Math.round(point.sy) + 0.5);
      ctx.moveTo(Math.round(point.sx) + 0.5, 0);
      ctx.lineTo(Math.round(point.sx) + 0.5, viewport.height);
      ctx.stroke();
    };
    line("rgb(0 0 0 / 60%)", []);
    line("rgb(255 255 255 / 90%)", [4, 4]);
  }
}
