// The boxes as a list, and the selected one as four numbers.

import { button, fill, h } from "../dom.js";

const SIDES = ["Left", "Top", "Right", "Bottom"];

export class BoxList {
  onSelect = () => {}; // (index)
  onEdit = () => {}; // (index, box)
  onRemove = () => {}; // the selected one
  onAdd = () => {};
  #annotation = null;
  #inputs;

  constructor() {
    this.list = h("ul", {
      class: "box-list", role: "listbox", tabindex: "0", "aria-label": "Boxes", onKeydown: (event) => this.#key(event),
    });
    this.#inputs = SIDES.map((side) =>
      h("input", {
        type: "number", step: "1", inputmode: "numeric", "aria-label": `${side} edge in pixels`, title: side,
        onChange: () => this.#edited(), onKeydown: (event) => event.key === "Escape" && this.#showNumbers(),
      }),
    );
    this.numbers = h(
      "div",
      { class: "box-numbers", role: "group", "aria-label": "Selected box" },
      this.#inputs.map((input, i) => h("label", {}, h("span", { text: SIDES[i], "aria-hidden": "true" }), input)),
    );
    this.remove = button({ icon: "trash", label: "Delete box", keys: "Del", class: "quiet danger", onClick: () => this.onRemove() });
    this.add = button({ icon: "plus", label: "New box in the middle of the view", keys: "B", class: "quiet", onClick: () => this.onAdd() });
    this.title = h("h3", { text: "Boxes" });
    this.element = h(
      "section",
      { class: "panel-section", "aria-label": "Boxes" },
      h("header", {}, this.title, h("div", {}, this.add, this.remove)),
      this.list,
      this.numbers,
    );
  }

  /** Show what the annotation says now. */
  show(annotation, enabled) {
    this.#annotation = annotation;
    const boxes = annotation?.boxes ?? [];
    const selected = annotation?.selected ?? -1;
    this.title.textContent = boxes.length ? `Boxes · ${boxes.length}` : "Boxes";
    fill(this.list, boxes.map((box, i) => this.#row(box, i, i === selected)));
    if (!boxes.length) fill(this.list, h("li", { class: "empty", role: "presentation", text: "Drag over the picture to draw a box." }));
    if (selected >= 0) this.list.setAttribute("aria-activedescendant", rowId(selected));
    else this.list.removeAttribute("aria-activedescendant");
    this.list.children[selected]?.scrollIntoView({ block: "nearest" });
    this.numbers.hidden = selected < 0;
    this.remove.disabled = selected < 0 || !enabled;
    this.add.disabled = !annotation || !enabled;
    this.#inputs.forEach((input, i) => {
      input.disabled = selected < 0 || !enabled;
      input.min = 0;
      input.max = i % 2 ? (annotation?.height ?? 0) : (annotation?.width ?? 0);
    });
    this.#showNumbers();
  }

  /** Also for who types, and thinks better of it. */
  #showNumbers() {
    const { boxes, selected } = this.#annotation ?? { boxes: [], selected: -1 };
    this.#inputs.forEach((input, i) => (input.value = selected < 0 ? "" : boxes[selected][i]));
  }

  #row([x0, y0, x1, y1], index, selected) {
    const size = `${x1 - x0} × ${y1 - y0}`;
    return h(
      "li",
      {
        id: rowId(index), role: "option", "aria-selected": String(selected), onClick: () => this.onSelect(index),
        "aria-label": `Box ${index + 1}: left ${x0}, top ${y0}, right ${x1}, bottom ${y1}`,
      },
      h("span", { class: "box-number", text: index + 1 }),
      h("span", { class: "box-place", text: `${x0}, ${y0}` }),
      h("span", { class: "box-size", text: size }),
    );
  }

  #key(event) {
    const { boxes, selected } = this.#annotation ?? { boxes: [], selected: -1 };
    const target = { ArrowDown: selected + 1, ArrowUp: selected - 1, Home: 0, End: boxes.length - 1 }[event.key];
    if (target === undefined || !boxes.length) return;
    event.preventDefault();
    event.stopPropagation();
    this.onSelect(Math.min(Math.max(target, 0), boxes.length - 1));
  }

  #edited() {
    const { boxes, selected } = this.#annotation;
    const values = this.#inputs.map((input, i) => (input.value === "" ? boxes[selected][i] : input.valueAsNumber));
    if (values.every(Number.isFinite)) this.onEdit(selected, values);
    this.show(this.#annotation, true);
  }
}

const rowId = (index) => `box-row-${index}`;
