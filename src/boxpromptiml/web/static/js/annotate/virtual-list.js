// A list of any length: only the rows in sight exist, are used again as it scrolls, and their data comes in pages.

import { h } from "../dom.js";

const PAGE = 200;
const PAGES_KEPT = 40;
const OVERSCAN = 4; // rows above and below what is seen
const SETTLE_MS = 60; // scrolling faster than a screenful a frame loads nothing until it has rested so long
const MAX_HEIGHT = 12_000_000; // browsers can't lay out much higher elements

export class VirtualList {
  onOpen = () => {}; // (item, index)
  onError = () => {};
  active = -1; // where the keyboard is
  current = -1; // what is open
  total = 0;
  #options;
  #pages = new Map(); // page -> items, least recently used first
  #loading = new Map(); // page -> AbortController
  #rows = new Map(); // index -> row
  #spare = [];
  #made = 0;
  #epoch = 0;
  #frame = 0;
  #timer = 0;
  #seenTop = 0;
  #observer;

  /**
   * @param options.rowHeight CSS pixels. @param options.loadPage `(offset, limit, signal) -> {total, items}`.
   * @param options.createRow `() -> row` with `row.element`. @param options.renderRow `(row, item | null, settled)`.
   */
  constructor({ label, ...options }) {
    this.#options = options;
    this.spacer = h("div", { class: "virtual-spacer", role: "presentation" });
    this.element = h(
      "div",
      { class: "virtual-list", role: "listbox", tabindex: "0", "aria-label": label, onKeydown: (event) => this.#key(event) },
      this.spacer,
    );
    this.element.addEventListener("scroll", () => this.#later(), { passive: true });
    this.element.addEventListener("focus", () => {
      if (this.active < 0) this.setActive(Math.max(0, this.current));
    });
    this.#observer = new ResizeObserver(() => this.#later());
    this.#observer.observe(this.element);
  }

  destroy() {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#abortAll();
  }

  /** Forget what was loaded. `keep`: the old rows stay in sight until the new ones are there. */
  async reload({ keep = false } = {}) {
    this.#abortAll();
    this.#epoch += 1;
    if (!keep) {
      this.#pages.clear();
      this.element.scrollTop = 0;
      this.current = this.active = -1;
    }
    const stale = new Set(this.#pages.keys());
    const visible = this.#visiblePages();
    await Promise.all(visible.map((page) => this.#load(page, true)));
    for (const page of stale) if (!visible.includes(page)) this.#pages.delete(page);
    this.#later();
  }

  /** The item at an index, or null while it is not loaded. */
  item(index) {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null;
  }

  /** Change loaded items in place: `change(item)` returns another one, or null to leave it. */
  update(change) {
    for (const items of this.#pages.values()) {
      items.forEach((item, i) => {
        const changed = change(item);
        if (changed) items[i] = changed;
      });
    }
    this.#render(true);
  }

  setCurrent(index) {
    this.current = index;
    this.active = index;
    if (index >= 0) this.reveal(index);
    this.#render(true);
  }

  setActive(index) {
    if (!this.total) return;
    this.active = Math.min(Math.max(index, 0), this.total - 1);
    this.reveal(this.active);
    this.#render(true);
  }

  /** Scroll as little as it takes to see a row. */
  reveal(index) {
    const { rowHeight } = this.#options;
    const height = this.element.clientHeight;
    const top = index * rowHeight;
    const seen = this.#virtualTop();
    if (top < seen) this.#scrollTo(top - rowHeight);
    else if (top + rowHeight > seen + height) this.#scrollTo(top + 2 * rowHeight - height);
  }

  get #height() {
    return this.total * this.#options.rowHeight;
  }

  /** More rows than can be laid out: the scroll bar then moves over them faster than its own pixels. */
  #virtualTop() {
    const shown = Math.min(this.#height, MAX_HEIGHT) - this.element.clientHeight;
    const real = this.#height - this.element.clientHeight;
    return shown > 0 ? (this.element.scrollTop / shown) * real : 0;
  }

  #scrollTo(virtualTop) {
    const shown = Math.min(this.#height, MAX_HEIGHT) - this.element.clientHeight;
    const real = this.#height - this.element.clientHeight;
    this.element.scrollTop = real > 0 ? (Math.max(0, virtualTop) / real) * shown : 0;
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const top = this.#virtualTop();
      const fast = Math.abs(top - this.#seenTop) > this.element.clientHeight;
      this.#seenTop = top;
      this.#render(!fast);
      clearTimeout(this.#timer);
      if (fast) this.#timer = setTimeout(() => this.#render(true), SETTLE_MS);
    });
  }

  #range() {
    const { rowHeight } = this.#options;
    const top = this.#virtualTop();
    const first = Math.max(0, Math.floor(top / rowHeight) - OVERSCAN);
    const last = Math.min(this.total, Math.ceil((top + this.element.clientHeight) / rowHeight) + OVERSCAN);
    return [first, last, top];
  }

  #visiblePages() {
    const [first, last] = this.#range();
    const pages = [];
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page++) pages.push(page);
    // Nothing is known yet, not even how many there are: the first page tells.
    return pages.length ? pages : [0];
  }

  #render(settled) {
    const { rowHeight, createRow, renderRow } = this.#options;
    this.spacer.style.height = `${Math.min(this.#height, MAX_HEIGHT)}px`;
    const [first, last, top] = this.#range();
    for (const [index, row] of this.#rows) {
      if (index >= first && index < last) continue;
      this.#rows.delete(index);
      this.#spare.push(row);
    }
    for (let index = first; index < last; index++) {
      let row = this.#rows.get(index);
      if (!row) {
        row = this.#spare.pop() ?? this.#newRow(createRow());
        this.#rows.set(index, row);
      }
      row.index = index;
      row.element.hidden = false;
      row.element.style.transform = `translateY(${index * rowHeight - top + this.element.scrollTop}px)`;
      row.element.setAttribute("aria-posinset", index + 1);
      row.element.setAttribute("aria-setsize", this.total);
      row.element.setAttribute("aria-selected", String(index === this.current));
      row.element.classList.toggle("active", index === this.active);
      renderRow(row, this.item(index), settled);
    }
    for (const row of this.#spare) row.element.hidden = true;
    const activeRow = this.#rows.get(this.active);
    if (activeRow) this.element.setAttribute("aria-activedescendant", activeRow.element.id);
    else this.element.removeAttribute("aria-activedescendant");
    if (settled) this.#loadVisible();
  }

  #newRow(row) {
    row.element.id = `${this.#options.name ?? "row"}-${this.#made++}`;
    row.element.setAttribute("role", "option");
    row.element.style.height = `${this.#options.rowHeight}px`;
    row.element.addEventListener("click", () => this.#open(row.index));
    this.spacer.append(row.element);
    return row;
  }

  #loadVisible() {
    const wanted = this.#visiblePages();
    for (const [page, abort] of this.#loading) if (!wanted.includes(page)) abort.abort();
    for (const page of wanted) if (!this.#pages.has(page) && !this.#loading.has(page)) this.#load(page, false);
  }

  async #load(page, again) {
    const abort = new AbortController();
    const epoch = this.#epoch;
    this.#loading.set(page, abort);
    try {
      const { total, items } = await this.#options.loadPage(page * PAGE, PAGE, abort.signal);
      if (epoch !== this.#epoch) return;
      this.total = total;
      this.#pages.delete(page);
      this.#pages.set(page, items);
      for (const old of this.#pages.keys()) {
        if (this.#pages.size <= PAGES_KEPT) break;
        if (old !== page) this.#pages.delete(old);
      }
      this.onLoaded();
    } catch (error) {
      if (error.name !== "AbortError") this.onError(error);
      return;
    } finally {
      if (this.#loading.get(page) === abort) this.#loading.delete(page);
    }
    if (!again) this.#render(true);
  }

  #abortAll() {
    for (const abort of this.#loading.values()) abort.abort();
    this.#loading.clear();
  }

  #open(index) {
    const item = this.item(index);
    if (item) this.onOpen(item, index);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const screenful = Math.max(1, Math.floor(this.element.clientHeight / this.#options.rowHeight) - 1);
    const target = {
      ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + screenful,
      PageUp: this.active - screenful, Home: 0, End: this.total - 1,
    }[event.key];
    if (target !== undefined) this.setActive(target);
    else if (event.key === "Enter" || event.key === " ") this.#open(this.active);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
