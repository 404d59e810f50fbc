// How it goes: done, seconds an image, time left, and what masks would have cost.

import { h } from "../dom.js";

export class StatsPanel {
  #values = {};

  constructor() {
    const row = (key, label) => h("div", {}, h("dt", { text: label }), (this.#values[key] = h("dd", { text: "–" })));
    this.bar = h("progress", { max: "1", value: 0, "aria-label": "Images done" });
    this.element = h(
      "section",
      { class: "panel-section stats", "aria-label": "Progress" },
      h("header", {}, h("h3", { text: "Progress" }), (this.#values.done = h("span", { class: "stats-done" }))),
      this.bar,
      h(
        "dl",
        {},
        row("median", "Median an image"),
        row("eta", "Time left"),
        row("total", "Spent so far"),
        row("masks", "As masks, 23 min each"),
      ),
    );
  }

  show({ images, done, skipped, median_seconds: median, total_seconds: total, eta_seconds: eta, mask_seconds: masks }) {
    const number = (value) => value.toLocaleString("en");
    this.bar.max = Math.max(1, images);
    this.bar.value = done;
    const share = images ? Math.floor((100 * done) / images) : 0;
    this.#values.done.textContent = `${number(done)} of ${number(images)} · ${share} %${skipped ? ` · ${number(skipped)} skipped` : ""}`;
    this.#values.median.textContent = median === null ? "–" : `${median.toFixed(1)} s`;
    this.#values.eta.textContent = eta === null ? "–" : duration(eta);
    this.#values.total.textContent = total ? duration(total) : "–";
    this.#values.masks.textContent = masks ? duration(masks) : "–";
  }
}

/** A number of seconds as a person would say it: `45 s`, `12 min`, `3.5 h`, `1,234 h`. */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return `${hours.toLocaleString("en", { maximumFractionDigits: hours < 20 ? 1 : 0 })} h`;
}
