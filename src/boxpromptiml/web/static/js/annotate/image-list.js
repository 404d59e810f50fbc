// The images of the dataset: filter, name search, thumbnails.

import { debounce, h, icon, setAttributes } from "../dom.js";
import { stateOf } from "./annotation.js";
import { VirtualList } from "./virtual-list.js";

const ROW_HEIGHT = 60;
const TAIL = 13; // characters at the end of a name that are always shown
export const STATE_NAMES = { todo: "to do", boxed: "boxed", authentic: "authentic", skipped: "skipped" };

export class ImageList {
  onOpen = () => {}; // (image, size {width, height})
  onFound = () => {}; // (image or null): Enter in the search field
  pendingOf = () => null; // (image): what was said of it and is not yet saved, or null
  onFilter = () => {}; // the filters changed
  #api;
  #image = null;
  #error = null; // why the list could not be had
  #typed = debounce(() => this.#filtered(), 200);

  constructor(api) {
    this.#api = api;
    this.filter = h(
      "select",
      { "aria-label": "Show images", onChange: () => this.#filtered() },
      h("option", { value: "", text: "All images" }),
      Object.entries(STATE_NAMES).map(([value, text]) => h("option", { value, text: capital(text) })),
    );
    this.search = h("input", { type: "search", placeholder: "Find by name", "aria-label": "Find images by name", onInput: this.#typed });
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.#typed.cancel();
      this.#openFirst();
    });
    this.status = h("p", { class: "list-status", "aria-live": "off" });
    this.rows = new VirtualList({
      label: "Images", name: "image-row", rowHeight: ROW_HEIGHT, createRow, renderRow: (...args) => this.#renderRow(...args),
      loadPage: (offset, limit, signal) => this.#api.images({ ...this.filters, offset, limit }, signal),
    });
    this.rows.onOpen = (item) => this.onOpen(item.image, item);
    this.rows.onError = (error) => this.#showStatus(error.message);
    this.rows.onLoaded = () => this.#showStatus(null);
    this.element = h(
      "aside",
      { class: "side images", "aria-label": "Images", id: "image-panel" },
      h("div", { class: "list-filters" }, this.filter, h("div", { class: "search" }, icon("search"), this.search)),
      this.status,
      this.rows.element,
    );
  }

  destroy() {
    this.#typed.cancel();
    this.#reloadSoon.cancel();
    this.rows.destroy();
  }

  /** Query parameters of what is shown. */
  get filters() {
    return { state: this.filter.value || null, contains: this.search.value.trim() || null };
  }

  /** Show other images, `{state, contains}`; a state that does not exist is none. */
  async show({ state, contains }) {
    this.filter.value = Object.hasOwn(STATE_NAMES, state ?? "") ? state : "";
    this.search.value = contains ?? "";
    await this.#filtered();
  }

  /** What is open; the list scrolls to it where it is among the images shown. */
  async setImage(image) {
    this.#image = image;
    const known = this.#loadedIndex(image);
    if (known >= 0) {
      this.rows.setCurrent(known);
      this.#showStatus();
      return;
    }
    try {
      const { position } = await this.#api.position(image, this.filters);
      if (this.#image !== image) return;
      this.rows.setCurrent(position ?? -1);
      this.#showStatus();
    } catch {
      // The list stays where it is.
    }
  }

  /** An image was saved. It stays in sight even if the filter no longer asks for it, until the list is loaded anew. */
  saved(record) {
    const { image, boxes, label, version } = record;
    this.rows.update((item) =>
      item.image === image ? { ...item, boxes: boxes.length, label, version, state: record.state ?? stateOf(record) } : null,
    );
    if (this.filter.value && this.filter.value !== (record.state ?? stateOf(record))) this.#reloadSoon();
  }

  /** What waits to be saved changed. */
  refresh() {
    this.rows.update(() => null);
  }

  /** Numbers behind the names of the states. */
  showCounts(stats) {
    for (const option of this.filter.options) {
      const count = option.value ? stats[option.value] : stats.images;
      const name = option.value ? capital(STATE_NAMES[option.value]) : "All images";
      if (count !== undefined) option.textContent = `${name} · ${count.toLocaleString("en")}`;
    }
  }

  #reloadSoon = debounce(async () => {
    await this.rows.reload({ keep: true });
    await this.setImage(this.#image);
  }, 600);

  async #filtered() {
    await this.rows.reload();
    this.#showStatus();
    if (this.#image) await this.setImage(this.#image);
    this.onFilter();
  }

  async #openFirst() {
    await this.rows.reload();
    this.#showStatus();
    this.onFound(this.rows.item(0)?.image ?? null);
    this.onFilter();
  }

  /** @param error why the list cannot be had, null if it can; without it, as it was said last. */
  #showStatus(error = this.#error) {
    this.#error = error;
    if (error !== null) {
      this.status.textContent = error;
      return;
    }
    const { total, current } = this.rows;
    const place = current >= 0 ? `${(current + 1).toLocaleString("en")} of ` : "";
    this.status.textContent = total ? `${place}${total.toLocaleString("en")} image${total === 1 ? "" : "s"}` : "No image matches";
  }

  #loadedIndex(image) {
    const { rows } = this;
    // Next and previous are what is asked most: look around the present one first.
    for (const step of [1, -1, 0, 2, -2]) {
      if (rows.current >= 0 && rows.item(rows.current + step)?.image === image) return rows.current + step;
    }
    return rows.item(rows.active)?.image === image ? rows.active : -1;
  }

  #renderRow(row, item, settled) {
    if (!item) {
      row.show(null, "");
      return;
    }
    const pending = this.pendingOf(item.image);
    const shown = pending ? { ...item, boxes: pending.boxes.length, state: stateOf(pending) } : item;
    row.show(shown, settled ? this.#api.url("/api/picture", { image: item.image, size: "thumb" }) : null);
  }
}

function createRow() {
  const picture = h("img", { class: "thumb", alt: "", width: "48", height: "48", decoding: "async" });
  // Cut in the middle: names of a dataset often differ only at their end.
  const head = h("span", { class: "name-head" });
  const tail = h("span", { class: "name-tail" });
  const folder = h("span", { class: "folder" });
  const badge = h("span", { class: "badge" });
  const element = h("div", { class: "image-row" }, picture,
    h("span", { class: "names" }, h("span", { class: "name" }, head, tail), h("span", { class: "details" }, badge, folder)));
  let shown = null;
  let source = null;
  picture.addEventListener("load", () => picture.classList.add("loaded"));
  const show = (item, url) => {
    if (item !== shown) {
      shown = item;
      const text = item?.image ?? "";
      const cut = text.lastIndexOf("/") + 1;
      const name = text.slice(cut) || "…";
      const split = Math.max(Math.ceil(name.length / 2), name.length - TAIL);
      head.textContent = name.slice(0, split);
      tail.textContent = name.slice(split);
      folder.textContent = text.slice(0, cut);
      element.title = text;
      const state = item?.state ?? "";
      badge.className = `badge ${state}`;
      badge.textContent = !item ? "" : state === "boxed" ? `${item.boxes} box${item.boxes === 1 ? "" : "es"}` : state === "todo" ? "" : STATE_NAMES[state];
      setAttributes(element, { "aria-label": item ? `${text}, ${state === "boxed" ? badge.textContent : STATE_NAMES[state]}` : "loading" });
    }
    const wanted = item ? url ?? (source?.item === item.image ? source.url : null) : null;
    if (wanted === (source?.url ?? null)) return;
    // Taking the address away ends a request that is no longer wanted.
    picture.classList.remove("loaded");
    source = wanted ? { item: item.image, url: wanted } : null;
    if (wanted) picture.src = wanted;
    else picture.removeAttribute("src");
  };
  return { element, show };
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
