// What a teacher would make of boxes and clicks that are not stored yet.

import { debounce } from "../dom.js";
import { decodeGrey } from "./png.js";

const DELAY = 250;

export class Previewer {
  onMask = () => {}; // the field to show, or null
  onNote = () => {}; // a line of text
  #api;
  #asked = null;
  #client = crypto.getRandomValues(new Uint32Array(2)).join("-");

  constructor(api) {
    this.#api = api;
  }

  /** Ask once nothing was changed for a moment. */
  ask(record, prompts, teacher) {
    this.#asked?.abort();
    this.#soon(record, prompts, teacher);
  }

  drop() {
    this.#soon.cancel();
    this.#asked?.abort();
    this.onMask(null);
    this.onNote("");
  }

  #soon = debounce(async (record, { boxes, points }, teacher) => {
    const asked = (this.#asked = new AbortController());
    this.onNote("Making a preview …");
    try {
      const body = { image: record.image, boxes, points, teacher, client: this.#client };
      const answer = await this.#api.preview(body, asked.signal);
      if (answer.superseded) return;
      const bytes = Uint8Array.from(atob(answer.png), (character) => character.charCodeAt(0));
      const field = await decodeGrey(new Blob([bytes], { type: "image/png" }));
      if (asked.signal.aborted) return;
      this.onMask(field);
      this.onNote("In blue: a preview of the new mask. “Make the mask again” stores it.");
    } catch (error) {
      if (error.name !== "AbortError") this.onNote(error.message);
    }
  }, DELAY);
}
