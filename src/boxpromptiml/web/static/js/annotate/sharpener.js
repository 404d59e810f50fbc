// Gives the stage as many pixels of an image as its zoom can show.

import { debounce } from "../dom.js";

const DELAY_MS = 120;

export class Sharpener {
  #stage;
  #pictures;
  #record = null;
  #shown = new Set();

  constructor(stage, pictures) {
    this.#stage = stage;
    this.#pictures = pictures;
  }

  close() {
    this.check.cancel();
    this.#record = null;
  }

  /** The stage shows another image. */
  open(record) {
    this.check.cancel();
    this.#record = record;
    this.#shown.clear();
    this.check();
  }

  /** A picture of the image came. */
  add(bitmap) {
    if (this.#shown.has(bitmap)) return;
    this.#shown.add(bitmap);
    this.#stage.addLevel(bitmap);
    this.check();
  }

  /** The zoom may have changed: get all pixels if they would be seen. */
  check = debounce(async () => {
    const record = this.#record;
    if (!record || !this.#stage.sharpest || this.#stage.wanted <= this.#stage.sharpest * 1.02) return;
    // The screen-sized view is on its way, and comes first.
    if (!this.#pictures.ready(record.image, "view")) return;
    const bitmap = await this.#pictures.load(record.image, "full").catch(() => null);
    if (bitmap && this.#record === record) this.add(bitmap);
  }, DELAY_MS);
}
