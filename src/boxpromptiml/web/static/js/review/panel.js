// What stands beside the image: why it is here, how the mask is shown, how it can be changed.

import { button, fill, h, icon } from "../dom.js";
import { makerOf, reasonsOf } from "./reasons.js";
import { SIZES } from "./tools.js";

export const MODES = { fill: "Fill", outline: "Outline", only: "Mask alone" };

export const TOOLS = {
  look: { text: "Look", icon: "hand", key: "v", title: "Look: drag to move the image" },
  box: { text: "Box", icon: "box", key: "b", title: "Draw, move, resize boxes" },
  include: { text: "Include", icon: "plus", key: "i", title: "Click what belongs to the manipulation" },
  exclude: { text: "Exclude", icon: "minus", key: "x", title: "Click what does not belong to it" },
  brush: { text: "Brush", icon: "brush", key: "d", title: "Paint on the mask" },
  eraser: { text: "Eraser", icon: "eraser", key: "e", title: "Erase from the mask" },
};

const REVIEWS = { accepted: ["Accepted", "authentic"], rejected: ["Rejected", "danger"], null: ["Open", ""] };

/** @param on callbacks: tool, mode, opacity, boxes, size, undo, redo, store, discard, teacher, remake, removeBox, selectBox. */
export class Panel {
  constructor(on, { teachers, teacher, readOnly }) {
    this.on = on;
    this.name = h("h2", { class: "review-name" });
    this.badges = h("p", { class: "badges" });
    this.reasons = h("ul", { class: "reasons" });
    this.boxes = h("ol", { class: "box-rows" });
    this.tools = h("div", { class: "tool-bar", role: "group", "aria-label": "Tool", hidden: readOnly });
    fill(this.tools, Object.entries(TOOLS).map(([name, tool]) =>
      button({ icon: tool.icon, text: tool.text, title: `${tool.title} (${tool.key.toUpperCase()})`, "aria-pressed": "false", "data-tool": name, onClick: () => on.tool(name) }),
    ));
    this.element = h(
      "aside",
      { class: "panel", "aria-label": "Mask" },
      h("section", { class: "card" }, this.name, this.badges, this.reasons),
      this.#display(),
      !readOnly && this.#correction(),
      !readOnly && this.#teacher(teachers, teacher),
      h("section", { class: "card" }, h("h2", { text: "Boxes" }), this.boxes),
    );
    this.readOnly = readOnly;
  }

  #display() {
    const modes = Object.entries(MODES).map(([mode, text]) =>
      button({ text, "aria-pressed": "false", "data-mode": mode, onClick: () => this.on.mode(mode) }),
    );
    this.modes = h("div", { class: "toggles three", role: "group", "aria-label": "Show the mask as" }, modes);
    this.opacity = h("input", { type: "range", id: "mask-opacity", min: 0, max: 1, step: 0.05, onInput: () => this.on.opacity(Number(this.opacity.value)) });
    this.opacityText = h("output", { for: "mask-opacity" });
    this.showBoxes = button({ text: "Boxes", title: "Show the boxes (G)", "aria-pressed": "true", "data-toggle": "boxes", onClick: () => this.on.boxes() });
    this.showMask = button({ text: "Mask", title: "Show the mask (H)", "aria-pressed": "true", "data-toggle": "mask", onClick: () => this.on.hide() });
    return h(
      "section",
      { class: "card" },
      h("h2", { text: "Show" }),
      this.modes,
      h("div", { class: "slider" }, h("label", { for: "mask-opacity", text: "Opacity" }), this.opacityText, this.opacity),
      h("div", { class: "toggles" }, this.showMask, this.showBoxes),
    );
  }

  #correction() {
    this.size = h("input", { type: "range", id: "brush-size", min: 0, max: SIZES.length - 1, step: 1, onInput: () => this.on.size(SIZES[this.size.value]) });
    this.sizeText = h("output", { for: "brush-size" });
    this.undo = button({ icon: "undo", label: "Undo", keys: "Ctrl+Z", onClick: () => this.on.undo() });
    this.redo = button({ icon: "redo", label: "Redo", keys: "Ctrl+Shift+Z", onClick: () => this.on.redo() });
    this.store = button({ text: "Store my mask", keys: "S", class: "primary", "data-action": "store", onClick: () => this.on.store() });
    this.discard = button({ text: "Discard", title: "Back to what is stored", "data-action": "discard", onClick: () => this.on.discard() });
    return h(
      "section",
      { class: "card" },
      h("h2", { text: "Correct by hand" }),
      h("div", { class: "slider" }, h("label", { for: "brush-size", text: "Brush size" }), this.sizeText, this.size),
      h("div", { class: "row" }, this.undo, this.redo, this.discard, this.store),
    );
  }

  #teacher(teachers, teacher) {
    this.select = h("select", { id: "teacher", onChange: () => this.on.teacher(this.select.value) }, teachers.map((name) => h("option", { value: name, text: name })));
    if (teacher) this.select.value = teacher;
    this.remake = button({ icon: "refresh", text: "Make the mask again", keys: "T", "data-action": "remake", onClick: () => this.on.remake() });
    this.note = h("p", { class: "note", role: "status" });
    this.boxesOnly = h("p", { class: "note boxes-only", hidden: true });
    const none = h("p", { class: "note", text: "The server was started without a teacher." });
    return h(
      "section",
      { class: "card" },
      h("h2", {}, h("label", { for: "teacher", text: "Teacher" })),
      teachers.length ? [this.select, this.boxesOnly, this.remake, this.note] : none,
    );
  }

  /** No record: the name of an image that is not there, if any. */
  showNothing(name) {
    this.name.textContent = name;
    for (const part of [this.badges, this.reasons, this.boxes]) fill(part);
  }

  /** Another record, or the same one after a change. */
  showRecord(record) {
    const [text, kind] = REVIEWS[record.review];
    this.name.textContent = record.image;
    const { pseudo } = record;
    const suspicious = pseudo && (pseudo.flags.some((flags) => flags.length) || pseudo.fallbacks.some(Boolean));
    fill(
      this.badges,
      h("span", { class: `badge ${kind}`, "data-review": record.review ?? "open", text }),
      pseudo?.stale && h("span", { class: "badge boxed", title: "The boxes were changed after this mask was made", text: "Stale" }),
      // A mask without findings has a number too, by which the list is ordered; beside "nothing" it would confuse.
      suspicious && h("span", { class: "badge", title: "0: nothing is suspicious, 1: certainly wrong", text: `Suspicion ${pseudo.suspicion.toFixed(2)}` }),
      h("span", { class: "maker", text: pseudo ? makerOf(pseudo) : "no pseudo mask" }),
    );
    const reasons = reasonsOf(record);
    fill(
      this.reasons,
      reasons.map((reason) => h("li", {}, icon("warning"), h("span", { text: reason.text }))),
      !reasons.length && pseudo && h("li", { class: "note", text: "Nothing is suspicious about this mask." }),
    );
  }

  /** What can be done now. `state`: tool, mode, opacity, hidden, boxesShown, size, prompts, painted, busy, teacher, points, noPoints. */
  showState(state) {
    const press = (parent, attribute, value) => {
      for (const control of parent.querySelectorAll(`[${attribute}]`)) control.setAttribute("aria-pressed", String(control.getAttribute(attribute) === value));
    };
    press(this.tools, "data-tool", state.tool);
    press(this.modes, "data-mode", state.mode);
    this.opacity.value = state.opacity;
    this.opacity.disabled = state.mode !== "fill";
    this.opacityText.textContent = `${Math.round(100 * state.opacity)} %`;
    this.showMask.setAttribute("aria-pressed", String(!state.hidden));
    this.showBoxes.setAttribute("aria-pressed", String(state.boxesShown));
    this.#showBoxRows(state.prompts);
    if (this.readOnly) return;
    for (const name of ["include", "exclude"]) {
      const control = this.tools.querySelector(`[data-tool=${name}]`);
      control.disabled = !state.points;
      control.title = state.points ? `${TOOLS[name].title} (${TOOLS[name].key.toUpperCase()})` : state.noPoints;
    }
    if (this.select) {
      this.select.value = state.teacher;
      this.boxesOnly.textContent = `${state.noPoints}.`;
      this.boxesOnly.hidden = state.points;
    }
    const { prompts, painted } = state;
    this.size.value = SIZES.indexOf(state.size);
    this.sizeText.textContent = `${state.size} pixel${state.size === 1 ? "" : "s"}`;
    this.undo.disabled = state.busy || !(painted?.canUndo || prompts?.canUndo);
    this.redo.disabled = state.busy || !(painted?.canRedo || prompts?.canRedo);
    this.store.disabled = state.busy || !painted?.changed;
    this.discard.disabled = state.busy || !(painted?.changed || prompts?.changed);
    if (this.remake) this.remake.disabled = state.busy || !prompts?.boxes.length;
  }

  #showBoxRows(prompts) {
    if (!prompts) return;
    fill(
      this.boxes,
      prompts.boxes.map((box, index) =>
        h(
          "li",
          {},
          button({ class: "box-row", "aria-pressed": String(index === prompts.selected), "data-box": index, title: "Show this box", onClick: () => this.on.selectBox(index) },
            h("span", { class: "box-number", text: index + 1 }), h("span", { text: `${box[2] - box[0]} × ${box[3] - box[1]} at ${box[0]}, ${box[1]}` })),
          !this.readOnly && button({ icon: "close", label: `Remove box ${index + 1}`, class: "quiet small", onClick: () => this.on.removeBox(index) }),
        ),
      ),
      !prompts.boxes.length && h("li", { class: "note", text: "None. With the box tool you draw one." }),
    );
  }
}
