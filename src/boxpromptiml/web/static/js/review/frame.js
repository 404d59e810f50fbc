// What stands around the image: filters and progress above, decisions below, messages over it.

import { button, fill, h, icon } from "../dom.js";
import { FILTERS } from "./queue.js";

const TOAST = 5000; // ms

/** @param on callbacks: filter, accept, reject, undo, previous, next. */
export class Frame {
  #toasted = 0;
  #waiting = false;
  #seen = false;

  constructor(on, { readOnly }) {
    this.filters = h("div", { class: "filters", role: "group", "aria-label": "Which masks" });
    for (const [name, text] of Object.entries(FILTERS)) {
      const count = h("span", { class: "count" });
      this.filters.append(button({ "data-filter": name, "aria-pressed": "false", onClick: () => on.filter(name) }, h("span", { text }), count));
    }
    this.progress = h("progress", { max: 1, value: 0, "aria-label": "Masks reviewed" });
    this.progressText = h("span", { class: "progress-text" });
    this.place = h("span", { class: "review-place" });
    this.top = h("div", { class: "review-top" }, this.filters, this.place, h("div", { class: "progress" }, this.progress, this.progressText));
    this.accept = button({ icon: "check", text: "Accept", class: "accept", "data-action": "accept", onClick: on.accept }, h("kbd", { text: "A" }));
    this.reject = button({ icon: "close", text: "Reject", class: "reject", "data-action": "reject", onClick: on.reject }, h("kbd", { text: "R" }));
    this.undo = button({ icon: "undo", text: "Undo verdict", keys: "U", "data-action": "undo-verdict", onClick: on.undo });
    this.actions = h(
      "div",
      { class: "actions", role: "group", "aria-label": "Verdict" },
      button({ icon: "previous", label: "Previous mask", keys: "←", "data-action": "previous", onClick: on.previous }),
      !readOnly && [this.reject, this.accept],
      button({ icon: "next", label: "Next mask", keys: "→", "data-action": "next", onClick: on.next }),
      !readOnly && this.undo,
    );
    this.#showAble();
    this.note = h("div", { class: "toast", hidden: true });
    this.message = h("div", { class: "stage-message", role: "status", hidden: true });
  }

  showCounts(queue) {
    for (const control of this.filters.children) {
      const { filter } = control.dataset;
      control.setAttribute("aria-pressed", String(filter === queue.filter));
      control.querySelector(".count").textContent = queue.counts[filter].toLocaleString();
    }
    this.progress.value = queue.total ? queue.judged / queue.total : 0;
    this.progressText.textContent = `${queue.judged.toLocaleString()} of ${queue.total.toLocaleString()} reviewed`;
    this.undo.disabled = !queue.canUndo;
  }

  /** @param place null while it is not known. */
  showPlace(place) {
    if (place === null) return void (this.place.textContent = "");
    const { position, total } = place;
    this.place.textContent = position === null ? "not among these" : `${(position + 1).toLocaleString()} of ${total.toLocaleString()}`;
  }

  setBusy(busy) {
    this.actions.setAttribute("aria-busy", String(busy));
  }

  /** While a mask is made or stored no verdict can be given. */
  setWaiting(waiting) {
    this.#waiting = waiting;
    this.#showAble();
  }

  /** Where no image is seen there is nothing to judge. */
  setSeen(seen) {
    this.#seen = seen;
    this.#showAble();
  }

  #showAble() {
    // Not `disabled`, which would take the focus from whoever pressed it.
    for (const control of [this.accept, this.reject]) control.setAttribute("aria-disabled", String(this.#waiting || !this.#seen));
    this.undo.setAttribute("aria-disabled", String(this.#waiting));
  }

  /** A line that goes away by itself. */
  toast(text) {
    clearTimeout(this.#toasted);
    this.note.textContent = text;
    this.note.hidden = false;
    this.#toasted = setTimeout(() => (this.note.hidden = true), TOAST);
  }

  say(text, { warning = false } = {}, ...more) {
    fill(this.message, icon(warning ? "warning" : "mask"), h("p", { text }), ...more);
    this.message.hidden = false;
  }

  hush() {
    this.message.hidden = true;
  }
}

/** What is shown where there is no mask to review. */
export function nothingHere(queue, onFilter) {
  if (!queue.total) {
    return h(
      "div",
      { class: "notice-page" },
      h("h1", { text: "There are no pseudo masks yet" }),
      h("p", {}, "Draw boxes, then let a teacher make masks of them: ", h("code", { text: "boxpromptiml pseudo-label DATASET" }), "."),
    );
  }
  const done = queue.filter === "open";
  return h(
    "div",
    { class: "notice-page" },
    h("h1", { text: done ? "All masks are reviewed" : `No mask is ${queue.filter}` }),
    h("p", { text: `${queue.counts.accepted.toLocaleString()} accepted, ${queue.counts.rejected.toLocaleString()} rejected, ${queue.counts.open.toLocaleString()} open.` }),
    h("div", { class: "row" }, Object.keys(FILTERS).filter((name) => name !== queue.filter && queue.counts[name]).map((name) =>
      button({ text: `Show ${FILTERS[name].toLowerCase()} ones`, onClick: () => onFilter(name) }))),
  );
}
