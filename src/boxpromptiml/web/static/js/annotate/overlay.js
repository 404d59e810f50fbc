// A grey picture over the image, in one colour: opaque where it is white.

import { greyBitmap } from "../api.js";
import { palette } from "./palette.js";

export class Overlay {
  #stage;
  #colour;
  #canvas = null;
  #layer;

  /** @param colour a name of the palette. */
  constructor(stage, colour, opacity) {
    this.#stage = stage;
    this.#colour = colour;
    this.#layer = stage.addLayer({ opacity, visible: false, draw: (ctx, viewport) => this.#draw(ctx, viewport) });
  }

  get opacity() {
    return this.#layer.opacity;
  }

  set opacity(value) {
    this.#layer.opacity = value;
    this.#stage.invalidate();
  }

  get shown() {
    return this.#canvas !== null && this.#layer.visible;
  }

  clear() {
    this.#canvas = null;
    this.#layer.visible = false;
    this.#stage.invalidate();
  }

  /** Show a grey PNG in base64; it covers the whole image. `wanted()` is asked once more when it is decoded. */
  async show(base64, wanted) {
    const bitmap = await greyBitmap(base64);
    const canvas = tinted(bitmap, palette()[this.#colour]);
    bitmap.close();
    if (!wanted()) return;
    this.#canvas = canvas;
    this.#layer.visible = true;
    this.#stage.invalidate();
  }

  #draw(ctx, viewport) {
    if (!this.#canvas) return;
    const { scale, x, y, imageWidth, imageHeight } = viewport;
    ctx.imageSmoothingEnabled = true;
    ctx.drawImage(this.#canvas, x, y, imageWidth * scale, imageHeight * scale);
  }
}

/** A canvas of one colour whose opacity is the brightness of a grey picture. */
function tinted(bitmap, colour) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const ctx = canvas.getContext("2d", { willReadFrequently: true });
  ctx.fillStyle = colour;
  ctx.fillRect(0, 0, 1, 1);
  const [red, green, blue] = ctx.getImageData(0, 0, 1, 1).data;
  ctx.drawImage(bitmap, 0, 0);
  const pixels = ctx.getImageData(0, 0, bitmap.width, bitmap.height);
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] = data[i];
    data[i] = red;
    data[i + 1] = green;
    data[i + 2] = blue;
  }
  ctx.putImageData(pixels, 0, 0);
  return canvas;
}
