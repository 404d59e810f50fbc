// Pseudo masks at full size, decoded; a few are kept, so that the next one is there when it is wanted.

import { ApiError } from "../api.js";
import { decodeGrey } from "./png.js";

const KEPT = 3;

export class Masks {
  #api;
  #held = new Map(); // image and version -> {promise, abort}

  constructor(api) {
    this.#api = api;
  }

  /** Fetch the mask of a record before it is asked for. */
  prefetch(record) {
    const key = `${record.version}/${record.image}`;
    if (this.#held.has(key)) return;
    this.#held.set(key, this.#begin(record));
    if (this.#held.size <= KEPT) return;
    const [oldest, { abort }] = this.#held.entries().next().value;
    abort.abort();
    this.#held.delete(oldest);
  }

  /**
   * The mask's values, Uint8Array of the image's size; they belong to the caller. Zeros where there is no mask.
   *
   * @param signal ends it, also where it was fetched ahead.
   */
  async take(record, signal) {
    const key = `${record.version}/${record.image}`;
    const { promise, abort } = this.#held.get(key) ?? this.#begin(record);
    this.#held.delete(key);
    const end = () => abort.abort();
    signal?.addEventListener("abort", end, { once: true });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", end);
    }
  }

  #begin(record) {
    const abort = new AbortController();
    const promise = this.#fetch(record, abort.signal);
    promise.catch(() => {}); // whoever takes it sees the error
    return { promise, abort };
  }

  async #fetch({ image, width, height, pseudo }, signal) {
    if (!pseudo) return new Uint8Array(width * height);
    const response = await this.#api.request("/api/pseudo", { query: { image, size: "full" }, cache: "no-cache", signal });
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
