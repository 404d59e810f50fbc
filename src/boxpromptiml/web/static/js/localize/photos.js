// The photos that were dropped, and what the model said of them. They are asked about one at a time.

import { ApiError } from "../api.js";
import { decodeGrey } from "../review/png.js";

let count = 0;

/** One photo: `state` is waiting, asking, done or failed; `answer` and `map()`, or `error`, come with the last two. */
class Photo {
  #answers = new Map(); // how it was looked at -> {answer, png, passes}
  constructor(file) {
    count += 1;
    this.id = count;
    this.file = file;
    this.name = file.name || "photo";
    this.state = "waiting";
    this.answer = null;
    this.png = null;
    this.error = null;
    this.passes = null; // how the answer was looked for
    this.abort = new AbortController(); // of what is asked about it now
  }

  /** An answer that was looked for in this way; `png` is its map. */
  take(answer, png, passes) {
    this.#answers.set(nameOf(passes), { answer, png, passes });
    this.recall(passes);
  }

  /** Have the answer that was looked for in this way; false where there is none yet. */
  recall(passes) {
    const known = this.#answers.get(nameOf(passes));
    if (known) Object.assign(this, known);
    return known !== undefined;
  }

  /** Know no answer any more: it has to be asked about again. */
  forget() {
    this.#answers.clear();
    this.answer = this.png = this.passes = null;
  }

  /** The map, decoded: of many photos, and of each way to look at them, it would fill the memory. */
  async map() {
    return { ...(await decodeGrey(this.png)), smooth: true };
  }

  /** Nobody waits any more for what is being asked; from now on something else may be. */
  giveUp() {
    this.abort.abort();
    this.abort = new AbortController();
  }
}

const nameOf = ({ detail, tta }) => `${Boolean(detail)} ${Boolean(tta)}`;

export class Photos {
  list = [];
  shown = null; // the one that a view shows, or showed last
  onChange = () => {}; // ([photo], {isNew}): their state changed; whether by an answer or failure that is new
  #api;
  #limit = 0; // bytes that the server takes at once
  #model = null;
  #busy = false;
  #passes = { detail: false, tta: false }; // how they are looked at
  #first = null;

  constructor(api) {
    this.#api = api;
  }

  /** What the server can do, which may have been started anew: with another model, all photos are looked at again. */
  serve(model, { upload_bytes: limit, tiles }) {
    this.#limit = limit;
    const passes = { ...this.#passes, detail: this.#passes.detail && tiles > 0 };
    const another = this.#model !== null && this.#model !== model;
    this.#model = model;
    if (another) this.list.forEach((photo) => photo.forget());
    if (another || passes.detail !== this.#passes.detail) this.setPasses(passes, this.shown);
  }

  /** Add files to the end of the list; returns the new photos. */
  add(files) {
    const added = [...files].map((file) => new Photo(file));
    this.list.push(...added);
    this.#work();
    return added;
  }

  get passes() {
    return this.#passes;
  }

  /** Look at all photos in another way, `{detail, tta}`, at `first` before the others. */
  setPasses(passes, first) {
    this.#passes = passes;
    this.#first = first;
    for (const photo of this.list) {
      photo.giveUp();
      photo.error = null;
      // Who takes it back has the answer already.
      photo.state = photo.recall(passes) ? "done" : "waiting";
    }
    this.onChange(this.list, { isNew: false });
    this.#work();
  }

  remove(photo) {
    this.list = this.list.filter((other) => other !== photo);
    photo.giveUp();
  }

  /** Ask again about a photo that failed, and after it about all others that may do better now: the server was away. */
  retry(photo) {
    const again = this.list.filter((one) => one === photo || (one.state === "failed" && one.error.temporary));
    for (const one of again) Object.assign(one, { state: "waiting", error: null });
    this.#first = photo;
    this.onChange(again, { isNew: false });
    this.#work();
  }

  /** Regions, verdict and run lengths at a threshold, exactly as they are downloaded. */
  async result(photo, threshold, signal) {
    const response = await this.#file(photo, "result.json", threshold, signal);
    return response.json();
  }

  /** A file of the answer: `{blob, name}`; mask.png, map.png, overlay.png, preview.jpg or result.json. */
  async file(photo, file, threshold, signal) {
    const response = await this.#file(photo, file, threshold, signal);
    const [, name] = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("Content-Disposition") ?? "") ?? [];
    return { blob: await response.blob(), name: name ? decodeURIComponent(name) : file };
  }

  async #file(photo, file, threshold, signal) {
    const address = () => `/api/localize/${photo.answer.id}/${file}`;
    try {
      return await this.#api.request(address(), { query: { threshold }, signal });
    } catch (error) {
      if (error.status !== 404) throw error;
      // The server keeps answers for as long as it has room, and forgets them when it starts anew.
      const { model } = photo.answer;
      await this.#ask(photo, photo.passes, photo.abort.signal);
      if (photo.answer.model !== model) this.onChange([photo], { isNew: true });
      return this.#api.request(address(), { query: { threshold }, signal });
    }
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    for (;;) {
      const waiting = this.list.filter(({ state }) => state === "waiting");
      if (!waiting.length) break;
      const photo = waiting.includes(this.#first) ? this.#first : waiting[0];
      photo.state = "asking";
      this.onChange([photo], { isNew: false });
      const { signal } = photo.abort;
      try {
        await this.#ask(photo, this.#passes, signal);
        photo.state = "done";
      } catch (error) {
        if (signal.aborted) continue; // it is gone, or waits to be asked about in another way
        photo.state = "failed";
        photo.error = error;
      }
      this.onChange([photo], { isNew: true });
    }
    this.#busy = false;
  }

  async #ask(photo, passes, signal) {
    const { file, name } = photo;
    if (file.size > this.#limit) {
      const size = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
      throw new ApiError(413, `${name}: has ${size(file.size)}, the limit is ${size(this.#limit)}; save it smaller`);
    }
    let content;
    try {
      content = await file.arrayBuffer();
    } catch {
      throw new ApiError(415, `${name}: can't be read; a folder is no photo`);
    }
    const answer = await this.#api.json("/api/localize", {
      method: "POST",
      query: { name: name.slice(0, 255), detail: passes.detail || null, tta: passes.tta || null },
      body: content,
      headers: { "Content-Type": "application/octet-stream" },
      signal,
    });
    const { map, ...rest } = answer;
    const bytes = Uint8Array.from(atob(map), (character) => character.charCodeAt(0));
    signal.throwIfAborted(); // an answer to what was asked before is none
    photo.take(rest, new Blob([bytes], { type: "image/png" }), passes);
  }
}
