// A field of values (a mask, a map) laid over an image: sampled for the screen's pixels, so that it costs the same
// whatever the image's size, and shows single pixels when zoomed in.

// Level, colour, opacity: nothing below 0.1, then yellow over orange to red. As in downloaded overlays.
const STOPS = [
  [0, 255, 230, 80, 0],
  [0.1, 255, 230, 80, 0],
  [0.5, 255, 150, 30, 0.65],
  [1, 235, 20, 40, 0.95],
];
const HEAT = heatTable();
const LINE = [0, 230, 255]; // cyan: rare in photographs, and the complement of the tint
const SHADE = [0, 20, 30];

/**
 * A layer of `Stage`.
 *
 * `field` is `{values, width, height, smooth}`: 0 to 255, row by row, spread over the whole image; `smooth` interpolates
 * between the centres of its cells as the server does, otherwise every cell is a rectangle. Call `changed()` after
 * changing the values, the style or the field.
 */
export class Overlay {
  field = null;
  mode = "fill"; // fill, outline, only (the values as grey), mask (black and white), heat
  level = 127.5; // a pixel is inside above this
  strength = 0.5; // opacity of fill and heat
  colour = [255, 60, 90];
  visible = true;
  #canvas = document.createElement("canvas");
  #stamp = "";
  #version = 0;

  changed() {
    this.#version += 1;
  }

  get opacity() {
    return this.mode === "fill" || this.mode === "heat" ? this.strength : 1;
  }

  draw(ctx, viewport) {
    if (!this.field) return;
    const [x0, y0, x1, y1] = viewport.visible();
    if (x0 >= x1 || y0 >= y1) return;
    const [left, top] = viewport.toScreen(x0, y0).map(Math.floor);
    const [right, bottom] = viewport.toScreen(x1, y1).map(Math.ceil);
    const width = right - left;
    const height = bottom - top;
    const stamp = [this.#version, viewport.x, viewport.y, viewport.scale, width, height].join();
    if (stamp !== this.#stamp) {
      this.#paint(viewport, left, top, width, height);
      this.#stamp = stamp;
    }
    ctx.save();
    // The outermost screen pixels reach over the image's border.
    ctx.beginPath();
    ctx.rect(...viewport.toScreen(0, 0), viewport.imageWidth * viewport.scale, viewport.imageHeight * viewport.scale);
    ctx.clip();
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(this.#canvas, left, top, width, height);
    ctx.restore();
  }

  #paint(viewport, left, top, width, height) {
    const sampled = sample(this.field, viewport, left, top, width, height);
    const picture = new ImageData(width, height);
    const paint = { fill, outline, only, mask, heat }[this.mode];
    paint(sampled, picture.data, this, width, height);
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#canvas.getContext("2d").putImageData(picture, 0, 0);
  }
}

/** The field at the centres of screen pixels, Float32Array (height x width). */
function sample(field, viewport, left, top, width, height) {
  const out = new Float32Array(width * height);
  const xs = places(left, width, viewport.x, viewport.scale, viewport.imageWidth, field.width, field.smooth);
  const ys = places(top, height, viewport.y, viewport.scale, viewport.imageHeight, field.height, field.smooth);
  const { values } = field;
  let place = 0;
  for (let row = 0; row < height; row += 1) {
    const upper = ys.low[row] * field.width;
    const lower = ys.high[row] * field.width;
    const v = ys.part[row];
    for (let column = 0; column < width; column += 1, place += 1) {
      const a = xs.low[column];
      if (!field.smooth) {
        out[place] = values[upper + a];
        continue;
      }
      const b = xs.high[column];
      const u = xs.part[column];
      out[place] =
        (1 - v) * ((1 - u) * values[upper + a] + u * values[upper + b]) +
        v * ((1 - u) * values[lower + a] + u * values[lower + b]);
    }
  }
  return out;
}

/** For each screen pixel of an axis the cells on both sides of its centre, and how far it is from the first. */
function places(start, count, offset, scale, imageSize, cells, smooth) {
  const low = new Int32Array(count);
  const high = new Int32Array(count);
  const part = new Float32Array(count);
  for (let i = 0; i < count; i += 1) {
    const at = ((start + i + 0.5 - offset) / scale / imageSize) * cells;
    const place = smooth ? at - 0.5 : at;
    const first = Math.floor(place);
    low[i] = Math.min(cells - 1, Math.max(0, first));
    high[i] = Math.min(cells - 1, Math.max(0, first + 1));
    part[i] = place - first;
  }
  return { low, high, part };
}

function fill(values, data, { colour, level }) {
  for (let i = 0, j = 0; i < values.length; i += 1, j += 4) {
    if (values[i] === 0) continue;
    [data[j], data[j + 1], data[j + 2]] = colour;
    // What is below the level does not count; it is shown, faintly, because it is there.
    data[j + 3] = values[i] > level ? 255 : values[i] * 0.5;
  }
}

/** A bright line of two pixels inside the edge and a dark one outside it; the border of what is in sight is no edge. */
function outline(values, data, { level }, width, height) {
  const differs = (here, row, column) =>
    row >= 0 && column >= 0 && row < height && column < width && values[row * width + column] > level !== here;
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const here = values[row * width + column] > level;
      let edge = false;
      for (let d = 1; d <= (here ? 2 : 1) && !edge; d += 1) {
        edge =
          differs(here, row - d, column) || differs(here, row + d, column) ||
          differs(here, row, column - d) || differs(here, row, column + d);
      }
      if (!edge) continue;
      const j = 4 * (row * width + column);
      [data[j], data[j + 1], data[j + 2]] = here ? LINE : SHADE;
      data[j + 3] = here ? 255 : 170;
    }
  }
}

function only(values, data) {
  for (let i = 0, j = 0; i < values.length; i += 1, j += 4) {
    data[j] = data[j + 1] = data[j + 2] = values[i];
    data[j + 3] = 255;
  }
}

function mask(values, data, { level }) {
  for (let i = 0, j = 0; i < values.length; i += 1, j += 4) {
    data[j] = data[j + 1] = data[j + 2] = values[i] > level ? 255 : 0;
    data[j + 3] = 255;
  }
}

function heat(values, data) {
  for (let i = 0, j = 0; i < values.length; i += 1, j += 4) {
    const k = 4 * Math.round(values[i]);
    data[j] = HEAT[k];
    data[j + 1] = HEAT[k + 1];
    data[j + 2] = HEAT[k + 2];
    data[j + 3] = HEAT[k + 3];
  }
}

function heatTable() {
  const table = new Uint8ClampedArray(4 * 256);
  for (let value = 0; value < 256; value += 1) {
    const at = value / 255;
    const next = Math.max(1, STOPS.findIndex(([level]) => level >= at));
    const [from, to] = [STOPS[next - 1], STOPS[next]];
    const part = (at - from[0]) / (to[0] - from[0]);
    for (let i = 0; i < 4; i += 1) {
      const mixed = from[i + 1] + part * (to[i + 1] - from[i + 1]);
      table[4 * value + i] = i === 3 ? mixed * 255 : mixed;
    }
  }
  return table;
}
