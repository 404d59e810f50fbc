// What is shown of an answer, and from where on a pixel counts.

import { button, h } from "../dom.js";

const TOGGLES = {
  map: { text: "Map", keys: "M", on: true },
  outline: { text: "Outline", keys: "O", on: true },
  boxes: { text: "Boxes", keys: "B", on: false },
  only: { text: "Mask alone", keys: "K", on: false },
};

// How photos are looked at.
const PASSES = {
  detail: { text: "Look closer", keys: "D", title: "Tiles at the photo's own size too, and smaller copies: finer, more false alarms, many times slower" },
  tta: { text: "Mirrored too", keys: "T", title: "Four looks, mirrored, averaged: slower" },
};

export class Controls {
  onThreshold = () => {};
  onPasses = () => {}; // another way of looking
  onShow = () => {}; // a toggle, or the opacity
  threshold;
  opacity = 0.7;
  #own;
  #toggles = {};
  #passes = {};

  /** @param own the model's threshold. @param passes `{detail, tta}`, without what cannot be had. */
  constructor(own, passes) {
    this.#own = own;
    for (const [name, on] of Object.entries(passes)) {
      const { text, keys, title } = PASSES[name];
      this.#passes[name] = button({ text, title: `${title} (${keys})`, "aria-pressed": String(on), "data-pass": name, onClick: () => this.togglePass(name) });
    }
    // Apart from the rest: what takes too long, or fails, must be possible to take back.
    this.passElement = h("div", { class: "toggles passes", role: "group", "aria-label": "How photos are looked at" }, Object.values(this.#passes));
    this.threshold = own;
    for (const [name, { text, keys, on }] of Object.entries(TOGGLES)) {
      this.#toggles[name] = button({ text, keys, "aria-pressed": String(on), "data-toggle": name, onClick: () => this.toggle(name) });
    }
    this.opacitySlider = slider("opacity", "Opacity of the map", (value) => this.setOpacity(value));
    this.thresholdSlider = slider("threshold", "Threshold", (value) => this.setThreshold(value));
    this.reset = button({ text: `Model's own, ${own.toFixed(2)}`, class: "quiet small", onClick: () => this.setThreshold(own) });
    this.element = h(
      "section",
      { class: "card" },
      h("h2", { class: "visually-hidden", text: "What is shown" }),
      h("div", { class: "toggles", role: "group", "aria-label": "Show" }, Object.values(this.#toggles)),
      this.opacitySlider.row,
      this.thresholdSlider.row,
      h("div", { class: "threshold-row" }, h("span", { class: "note", text: "Mask, regions and verdict follow." }), this.reset),
    );
    this.#write();
  }

  isOn(name) {
    return this.#toggles[name].getAttribute("aria-pressed") === "true";
  }

  toggle(name) {
    this.#toggles[name].setAttribute("aria-pressed", String(!this.isOn(name)));
    this.onShow();
  }

  /** `{detail, tta}`. */
  get passes() {
    const is = (name) => this.#passes[name]?.getAttribute("aria-pressed") === "true";
    return { detail: is("detail"), tta: is("tta") };
  }

  togglePass(name) {
    this.#passes[name].setAttribute("aria-pressed", String(!this.passes[name]));
    this.onPasses();
  }

  setOpacity(value) {
    this.opacity = tidy(value);
    this.#write();
    this.onShow();
  }

  setThreshold(value) {
    this.threshold = tidy(value);
    this.#write();
    this.onThreshold();
  }

  /** M, O, B, K, D, T, comma, full stop and brackets. Returns whether it was one of them. */
  handleKey(key) {
    const toggle = Object.keys(TOGGLES).find((name) => TOGGLES[name].keys.toLowerCase() === key.toLowerCase());
    const pass = Object.keys(this.#passes).find((name) => PASSES[name].keys.toLowerCase() === key.toLowerCase());
    if (toggle) this.toggle(toggle);
    else if (pass) this.togglePass(pass);
    else if (key === ",") this.setThreshold(this.threshold - 0.01);
    else if (key === ".") this.setThreshold(this.threshold + 0.01);
    else if (key === "[") this.setOpacity(this.opacity - 0.1);
    else if (key === "]") this.setOpacity(this.opacity + 0.1);
    else return false;
    return true;
  }

  #write() {
    this.opacitySlider.input.value = this.opacity;
    this.opacitySlider.output.textContent = `${Math.round(100 * this.opacity)} %`;
    this.thresholdSlider.input.value = this.threshold;
    this.thresholdSlider.output.textContent = this.threshold.toFixed(2);
    this.reset.disabled = this.threshold === this.#own;
  }
}

const tidy = (value) => Math.min(1, Math.max(0, Math.round(value * 1000) / 1000));

function slider(id, text, onInput) {
  const output = h("output", { for: id });
  const input = h("input", { type: "range", id, min: 0, max: 1, step: 0.01, onInput: () => onInput(Number(input.value)) });
  return { input, output, row: h("div", { class: "slider" }, h("label", { for: id, text }), output, input) };
}
