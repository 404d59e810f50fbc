// Where an image lies on the screen. Pure arithmetic: no element, no event.
//
// Image coordinates are pixels of the upright image, (0, 0) at its top left corner; screen coordinates are CSS pixels
// of the canvas. screen = image * scale + offset.

const MAX_SCALE = 40;
const MAX_FIT = 8; // a stamp-sized image is not blown up beyond this
const MARGIN = 24; // CSS pixels left free around a fitted image
const KEEP = 48; // CSS pixels of the image that can't be pushed out of sight

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

export class Viewport {
  imageWidth = 1;
  imageHeight = 1;
  width = 1;
  height = 1;
  scale = 1;
  x = 0; // screen position of the image's top left corner
  y = 0;
  fitted = true; // whether the whole image is shown, and shall be after the next change of size too

  /** Another image; it is fitted. */
  setImageSize(width, height) {
    this.imageWidth = Math.max(1, width);
    this.imageHeight = Math.max(1, height);
    this.fit();
  }

  /** Another canvas size in CSS pixels; what is in the middle stays there. */
  resize(width, height) {
    const [cx, cy] = this.toImage(this.width / 2, this.height / 2);
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    if (this.fitted) {
      this.fit();
      return;
    }
    this.x = this.width / 2 - cx * this.scale;
    this.y = this.height / 2 - cy * this.scale;
    this.#keepInSight();
  }

  /** The scale at which the whole image is seen. */
  get fitScale() {
    const margin = Math.min(MARGIN, this.width / 10, this.height / 10);
    const across = (this.width - 2 * margin) / this.imageWidth;
    const down = (this.height - 2 * margin) / this.imageHeight;
    return Math.min(across, down, MAX_FIT);
  }

  get minScale() {
    return Math.min(this.fitScale, 1) / 2;
  }

  get maxScale() {
    return Math.max(MAX_SCALE, this.fitScale);
  }

  /** Show the whole image, in the middle. */
  fit() {
    this.scale = this.fitScale;
    this.x = (this.width - this.imageWidth * this.scale) / 2;
    this.y = (this.height - this.imageHeight * this.scale) / 2;
    this.fitted = true;
  }

  /** Set the scale; the image point under (sx, sy), by default the middle of the canvas, stays where it is. */
  zoomTo(scale, sx = this.width / 2, sy = this.height / 2) {
    const [ix, iy] = this.toImage(sx, sy);
    this.scale = clamp(scale, this.minScale, this.maxScale);
    this.x = sx - ix * this.scale;
    this.y = sy - iy * this.scale;
    this.fitted = false;
    this.#keepInSight();
  }

  zoomBy(factor, sx, sy) {
    this.zoomTo(this.scale * factor, sx, sy);
  }

  panBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#keepInSight();
  }

  /** Move as little as it takes to see an image rectangle [x0, y0, x1, y1]. */
  reveal([x0, y0, x1, y1], margin = MARGIN) {
    const [left, top] = this.toScreen(x0, y0);
    const [right, bottom] = this.toScreen(x1, y1);
    const dx = shift(left, right, margin, this.width - margin);
    const dy = shift(top, bottom, margin, this.height - margin);
    if (dx || dy) this.panBy(dx, dy);
  }

  toScreen(x, y) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  toImage(sx, sy) {
    return [(sx - this.x) / this.scale, (sy - this.y) / this.scale];
  }

  /** The part of the image that is in sight, [x0, y0, x1, y1]; empty where x0 >= x1. */
  visible() {
    const [x0, y0] = this.toImage(0, 0);
    const [x1, y1] = this.toImage(this.width, this.height);
    return [Math.max(0, x0), Math.max(0, y0), Math.min(this.imageWidth, x1), Math.min(this.imageHeight, y1)];
  }

  #keepInSight() {
    const keepX = Math.min(KEEP, this.width / 2, (this.imageWidth * this.scale) / 2);
    const keepY = Math.min(KEEP, this.height / 2, (this.imageHeight * this.scale) / 2);
    this.x = clamp(this.x, keepX - this.imageWidth * this.scale, this.width - keepX);
    this.y = clamp(this.y, keepY - this.imageHeight * this.scale, this.height - keepY);
  }
}

/** How far [from, to] must move to lie in [low, high]; what does not fit in shows its start. */
function shift(from, to, low, high) {
  if (from < low || to - from > high - low) return from < low || to > high ? low - from : 0;
  return to > high ? high - to : 0;
}
