// What the pointer does over the image: look, set points, paint. Boxes are drawn by the annotate view's tool.

/** Drag to move the image. */
export class LookTool {
  #stage;
  #last = null;

  constructor(stage) {
    this.#stage = stage;
  }

  down(point) {
    this.#last = point;
  }

  move(point) {
    this.#stage.panBy(point.sx - this.#last.sx, point.sy - this.#last.sy);
    this.#last = point;
  }

  up() {
    this.#last = null;
  }

  cancel() {
    this.#last = null;
  }

  cursor() {
    return this.#last ? "grabbing" : "grab";
  }
}

const TAP = 6; // CSS pixels that a click may move

/** A click sets a point (`onPoint(x, y)`, image pixels), or takes one away that is there (`onRemove(index)`). */
export class PointTool {
  points = []; // [x, y, positive, box]
  onPoint = () => {};
  onRemove = () => {};
  #stage;
  #from = null;

  constructor(stage) {
    this.#stage = stage;
    this.layer = stage.addLayer({ draw: (ctx, viewport) => this.#draw(ctx, viewport) });
  }

  down(point) {
    this.#from = point;
  }

  up(point) {
    const from = this.#from;
    this.#from = null;
    if (!from || Math.hypot(point.sx - from.sx, point.sy - from.sy) > TAP) return;
    const there = this.#at(point);
    if (there >= 0) this.onRemove(there);
    else if (this.#inside(point)) this.onPoint(Math.floor(point.x), Math.floor(point.y));
  }

  cancel() {
    this.#from = null;
  }

  cursor(point) {
    return this.#at(point) >= 0 ? "pointer" : "crosshair";
  }

  #inside({ x, y }) {
    const { imageWidth, imageHeight } = this.#stage.viewport;
    return x >= 0 && y >= 0 && x < imageWidth && y < imageHeight;
  }

  #at({ sx, sy, type }) {
    const reach = type === "touch" ? 18 : 9;
    return this.points.findIndex(([x, y]) => {
      const [px, py] = this.#stage.viewport.toScreen(x + 0.5, y + 0.5);
      return Math.hypot(px - sx, py - sy) <= reach;
    });
  }

  #draw(ctx, viewport) {
    for (const [x, y, positive] of this.points) {
      const [px, py] = viewport.toScreen(x + 0.5, y + 0.5);
      ctx.beginPath();
      ctx.arc(px, py, 8, 0, 2 * Math.PI);
      ctx.fillStyle = positive ? "#12a150" : "#d92d35";
      ctx.fill();
      ctx.lineWidth = 2;
      ctx.strokeStyle = "#fff";
      ctx.stroke();
      // A sign besides the colour.
      ctx.beginPath();
      ctx.moveTo(px - 4, py);
      ctx.lineTo(px + 4, py);
      if (positive) {
        ctx.moveTo(px, py - 4);
        ctx.lineTo(px, py + 4);
      }
      ctx.stroke();
    }
  }
}

/** Sizes of the brush, image pixels. */
export const SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

/** Paints on a `PaintedMask`. */
export class BrushTool {
  mask = null;
  value = 255; // 0: the eraser
  size = 16;
  onChange = () => {}; // something was painted
  onStroke = () => {}; // a stroke has ended
  #stage;
  #point = null;
  #busy = false;

  constructor(stage) {
    this.#stage = stage;
    this.layer = stage.addLayer({ visible: false, draw: (ctx, viewport) => this.#draw(ctx, viewport) });
  }

  get busy() {
    return this.#busy;
  }

  down(point) {
    if (!this.mask) return;
    this.#busy = true;
    this.#point = point;
    this.mask.begin(point.x, point.y, this.size, this.value);
    this.onChange();
  }

  move(point) {
    if (!this.#busy) return;
    this.#point = point;
    this.mask.move(point.x, point.y);
    this.onChange();
  }

  up(point) {
    if (!this.#busy) return;
    if (point.x !== this.#point.x || point.y !== this.#point.y) this.move(point);
    this.#busy = false;
    if (point.type === "touch") this.#point = null;
    this.mask.end();
    this.onStroke();
  }

  cancel() {
    if (!this.#busy) return;
    this.#busy = false;
    this.mask.cancel();
    this.onChange();
  }

  hover(point) {
    this.#point = point;
    this.#stage.invalidate();
  }

  cursor() {
    return this.size * this.#stage.viewport.scale < 6 ? "crosshair" : "none";
  }

  #draw(ctx, viewport) {
    if (!this.#point || !this.mask) return;
    const [px, py] = viewport.toScreen(this.#point.x, this.#point.y);
    for (const [style, width] of [["rgb(0 0 0 / 70%)", 3], ["#fff", 1.5]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width;
      ctx.setLineDash(this.value ? [] : [4, 3]);
      ctx.beginPath();
      ctx.arc(px, py, Math.max(1, (this.size / 2) * viewport.scale), 0, 2 * Math.PI);
      ctx.stroke();
    }
  }
}
