// Pseudo masks at full size, decoded; a few are kept, so that the next one is there when it is wanted.

import { ApiError } from "../api.js";
import { decodeGrey } from "./png.js";

const KEPT = 3;

export class Masks {
  #api;
  #held = new Map(); // image and version -> promise

  constructor(api) {
    this.#api = api;
  }

  /** Fetch the mask of a record before it is asked for. */
  prefetch(record) {
    const key = `${record.version}/${record.image}`;
    if (this.#held.has(key)) return;
    const promise = this.#fetch(record);
    promise.catch(() => {}); // whoever takes it sees the error
    this.#held.set(key, promise);
    if (this.#held.size > KEPT) this.#held.delete(this.#held.keys().next().value);
  }

  /** The mask's values, Uint8Array of the image's size; they belong to the caller. Zeros where there is no mask. */
  take(record) {
    const key = `${record.version}/${record.image}`;
    const promise = this.#held.get(key) ?? this.#fetch(record);
    this.#held.delete(key);
    return promise;
  }

  async #fetch({ image, width, height, pseudo }) {
    if (!pseudo) return new Uint8Array(width * height);
    const response = await this.#api.request("/api/pseudo", { query: { image, size: "full" }, cache: "no-cache" });
    let mask;
    try {
      mask = await decodeGrey(await response.blob());
    } catch {
      throw new ApiError(415, "the browser can't show this mask");
    }
    if (mask.width !== width || mask.height !== height) {
      const sizes = `${mask.width} × ${mask.height} pixels, the image ${width} × ${height}`;
      throw new ApiError(415, `the mask of ${image} has ${sizes}; make it again`);
    }
    return mask.values;
  }
}
