// What a teacher would make of boxes and clicks that are not stored yet.

import { debounce } from "../dom.js";
import { decodeGrey } from "./png.js";

const DELAY = 250;

export class Previewer {
  onMask = () => {}; // the field to show, or null
  onNote = () => {}; // a line of text
  #api;
  #asked = null;

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
      // A rough mask at once where the exact one takes longer, then the exact one, which is what would be stored.
      for (const exact of [false, true]) {
        const body = { image: record.image, boxes, points, teacher, exact };
        const answer = await this.#api.preview(body, asked.signal);
        if (asked.signal.aborted || answer.superseded) return;
        const bytes = Uint8Array.from(atob(answer.png), (character) => character.charCodeAt(0));
        const field = await decodeGrey(new Blob([bytes], { type: "image/png" }));
        if (asked.signal.aborted) return;
        this.onMask(field);
        if (!answer.draft) break;
        this.onNote("In blue: a rough preview; refining …");
      }
      this.onNote("In blue: a preview of the new mask. “Make the mask again” stores it.");
    } catch (error) {
      if (!asked.signal.aborted) this.onNote(error.message);
    }
  }, DELAY);
}
