// A mask that a person paints on, at the image's own size, with undo. Pure: knows neither page nor server.

const TILE = 64;
const UNDO_BYTES = 128 * 2 ** 20;

/** One byte a pixel, row by row: 0 authentic to 255 tampered. */
export class PaintedMask {
  /** @param {Uint8Array} values width x height values; painted on in place. */
  constructor(values, width, height) {
    if (values.length !== width * height) throw new RangeError(`${values.length} values for ${width} x ${height} pixels`);
    this.values = values;
    this.width = width;
    this.height = height;
    this.done = [];
    this.undone = [];
    this.stroke = null;
    this.forgotten = false;
  }

  /** Whether it differs from what it was made of (as far as strokes tell). */
  get changed() {
    return this.forgotten || this.done.length > 0 || (this.stroke !== null && this.stroke.tiles.size > 0);
  }

  get canUndo() {
    return this.done.length > 0;
  }

  get canRedo() {
    return this.undone.length > 0;
  }

  /**
   * Begin a stroke.
   * @param {number} size diameter of the brush, image pixels, at least 1.
   * @param {number} value what is painted: 255 tampered, 0 authentic.
   */
  begin(x, y, size, value) {
    this.end();
    this.stroke = { tiles: new Map(), radius: Math.max(1, size) / 2, value, x, y };
    this.#line(x, y, x, y);
  }

  /** Go on to a point, image pixels. */
  move(x, y) {
    if (!this.stroke) return;
    this.#line(this.stroke.x, this.stroke.y, x, y);
    this.stroke.x = x;
    this.stroke.y = y;
  }

  /** End the stroke; one undo takes all of it back. */
  end() {
    if (this.stroke && this.stroke.tiles.size > 0) {
      this.done.push(this.stroke.tiles);
      this.undone = [];
      this.#limit();
    }
    this.stroke = null;
  }

  /** Take the stroke in progress back, as if it had not been begun. */
  cancel() {
    if (this.stroke) this.#swap(this.stroke.tiles);
    this.stroke = null;
  }

  /** What is painted now, to be stored: `{values, strokes}`; what is painted from now on is not among it. */
  take() {
    this.end();
    return { values: this.values.slice(), strokes: new Set(this.done) };
  }

  /** What `take` returned is stored: those strokes are no change any more, and cannot be undone. */
  settle({ strokes }) {
    this.done = this.done.filter((tiles) => !strokes.has(tiles));
    this.forgotten = false;
  }

  undo() {
    return this.#step(this.done, this.undone);
  }

  redo() {
    return this.#step(this.undone, this.done);
  }

  #step(from, to) {
    this.end();
    const tiles = from.pop();
    if (!tiles) return false;
    this.#swap(tiles);
    to.push(tiles);
    return true;
  }

  /** Pixels whose centre is within the brush's radius of the line, and those right under it. */
  #line(x0, y0, x1, y1) {
    const { radius, value } = this.stroke;
    const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius));
    const right = Math.min(this.width, Math.ceil(Math.max(x0, x1) + radius) + 1);
    const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
    const bottom = Math.min(this.height, Math.ceil(Math.max(y0, y1) + radius) + 1);
    const dx = x1 - x0;
    const dy = y1 - y0;
    const length = dx * dx + dy * dy;
    for (let row = top; row < bottom; row += 1) {
      for (let column = left; column < right; column += 1) {
        const px = column + 0.5 - x0;
        const py = row + 0.5 - y0;
        const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const ox = px - along * dx;
        const oy = py - along * dy;
        if (ox * ox + oy * oy <= radius * radius) this.#set(column, row, value);
      }
    }
    this.#set(Math.floor(x1), Math.floor(y1), value);
  }

  #set(column, row, value) {
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return;
    const place = row * this.width + column;
    if (this.values[place] === value) return;
    const across = Math.ceil(this.width / TILE);
    const tile = Math.floor(row / TILE) * across + Math.floor(column / TILE);
    if (!this.stroke.tiles.has(tile)) this.stroke.tiles.set(tile, this.#copy(tile));
    this.values[place] = value;
  }

  #bounds(tile) {
    const across = Math.ceil(this.width / TILE);
    const left = (tile % across) * TILE;
    const top = Math.floor(tile / across) * TILE;
    return [left, top, Math.min(left + TILE, this.width), Math.min(top + TILE, this.height)];
  }

  #copy(tile) {
    const [left, top, right, bottom] = this.#bounds(tile);
    const content = new Uint8Array((right - left) * (bottom - top));
    for (let row = top; row < bottom; row += 1) {
      const start = row * this.width;
      content.set(this.values.subarray(start + left, start + right), (row - top) * (right - left));
    }
    return content;
  }

  /** Exchange tiles with what is in the mask: what undoes a stroke redoes it the next time. */
  #swap(tiles) {
    for (const [tile, content] of tiles) {
      const [left, top, right, bottom] = this.#bounds(tile);
      const now = this.#copy(tile);
      for (let row = top; row < bottom; row += 1) {
        const start = (row - top) * (right - left);
        this.values.set(content.subarray(start, start + right - left), row * this.width + left);
      }
      tiles.set(tile, now);
    }
  }

  /** Forget the oldest strokes where their copies take too much memory. */
  #limit() {
    let bytes = 0;
    for (let i = this.done.length - 1; i >= 0; i -= 1) {
      bytes += this.done[i].size * TILE * TILE;
      if (bytes > UNDO_BYTES && i > 0) {
        this.done.splice(0, i);
        this.forgotten = true;
        return;
      }
    }
  }
}
