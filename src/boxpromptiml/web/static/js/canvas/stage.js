// A focusable element with a canvas: shows an image, zooms and pans it, and hands the rest of the pointer to a tool.

import { h } from "../dom.js";
import { Viewport } from "./viewport.js";

const ZOOM_STEP = 1.25;
const PIXELS_FROM = 3; // image pixels are shown as squares from this zoom on

/**
 * A tool gets pointer events as `{x, y, sx, sy, type, event}`: image pixels (fractions, may lie outside), CSS pixels of
 * the canvas, `mouse`, `touch` or `pen`. All its methods are optional:
 *
 * - `down(point)`, `move(point)` while pressed, `up(point)`; `cancel()` when the gesture became something else
 * - `hover(point | null)`: the mouse moved without being pressed, or left
 * - `cursor(point)`: a CSS cursor
 */
export class Stage {
  viewport = new Viewport();
  onViewChange = () => {}; // zoomed, panned or resized
  #tool = {};
  #hovered = null; // where the pointer was last, over the element and not a finger
  #levels = [];
  #layers = [];
  #frame = 0;
  #pointers = new Map();
  #gesture = null; // "tool", "pan", "pinch"
  #space = false;
  #observer;
  #abort = new AbortController();

  constructor({ label = "Image" } = {}) {
    this.canvas = h("canvas", { class: "stage-canvas", "aria-hidden": "true" });
    this.element = h(
      "div",
      { class: "stage", tabindex: "0", role: "application", "aria-roledescription": "drawing area", "aria-label": label },
      this.canvas,
    );
    this.#observer = new ResizeObserver(() => this.#resize());
    this.#observer.observe(this.element);
    const options = { signal: this.#abort.signal };
    const on = (target, name, handler, more) => target.addEventListener(name, handler, { ...options, ...more });
    on(this.element, "pointerdown", (event) => this.#down(event));
    on(this.element, "pointermove", (event) => this.#move(event));
    on(this.element, "pointerup", (event) => this.#up(event));
    on(this.element, "pointercancel", (event) => this.#up(event, true));
    on(this.element, "pointerleave", () => {
      this.#hovered = null;
      this.tool.hover?.(null);
    });
    on(this.element, "wheel", (event) => this.#wheel(event), { passive: false });
    on(this.element, "contextmenu", (event) => event.preventDefault());
    // The middle button would start the browser's own scrolling.
    on(this.element, "mousedown", (event) => event.button === 1 && event.preventDefault());
    on(window, "keydown", (event) => this.#spaceKey(event, true));
    on(window, "keyup", (event) => this.#spaceKey(event, false));
    on(window, "blur", () => this.#releaseSpace());
    this.#watchDensity();
  }

  /** Let go of everything outside the element. */
  destroy() {
    this.#abort.abort();
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
    this.#levels = [];
    this.#layers = [];
  }

  get tool() {
    return this.#tool;
  }

  /** Another tool has the pointer where it is, without its being moved. */
  set tool(tool) {
    this.#tool = tool;
    if (!this.#hovered) return;
    const { event } = this.#hovered;
    this.#hovered = this.#point(event); // another image may lie there by now
    tool.hover?.(this.#hovered);
    this.#showCursor(this.#hovered);
  }

  /**
   * Show another image. `source` (ImageBitmap, img or canvas; null: nothing yet) may have fewer pixels than the image,
   * whose own size is `width` x `height`.
   */
  setImage(source, width, height) {
    this.#levels = source ? [source] : [];
    this.viewport.setImageSize(width, height);
    this.cancelGesture();
    this.#changed();
  }

  /** Another picture of the image that is shown: the view stays, unless it turns out to have another size. */
  renewImage(source, width, height) {
    if (width !== this.viewport.imageWidth || height !== this.viewport.imageHeight) return this.setImage(source, width, height);
    this.#levels = [source];
    this.invalidate();
  }

  /** The same image with more (or fewer) pixels; the view stays. What is drawn is the least that is sharp. */
  addLevel(source) {
    this.#levels = [...this.#levels, source].sort((a, b) => levelWidth(a) - levelWidth(b));
    this.invalidate();
  }

  /** Width in pixels of the sharpest picture at hand; 0 without one. */
  get sharpest() {
    return this.#levels.length ? levelWidth(this.#levels.at(-1)) : 0;
  }

  /** Width in device pixels over which the whole image is spread at the present zoom. */
  get wanted() {
    return Math.min(this.viewport.imageWidth, this.viewport.imageWidth * this.viewport.scale * devicePixelRatio);
  }

  /** Add `{draw(ctx, viewport), opacity, visible}`, drawn in CSS pixels over what is there; returns the layer. */
  addLayer(layer) {
    this.#layers.push(layer);
    this.invalidate();
    return layer;
  }

  removeLayer(layer) {
    this.#layers = this.#layers.filter((other) => other !== layer);
    this.invalidate();
  }

  /** Draw again with the next frame. */
  invalidate() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  fit() {
    this.viewport.fit();
    this.#changed();
  }

  /** Multiply the zoom; (sx, sy) stays, by default the middle. */
  zoomBy(factor, sx, sy) {
    this.viewport.zoomBy(factor, sx, sy);
    this.#changed();
  }

  zoomTo(scale, sx, sy) {
    this.viewport.zoomTo(scale, sx, sy);
    this.#changed();
  }

  panBy(dx, dy) {
    this.viewport.panBy(dx, dy);
    this.#changed();
  }

  reveal(rectangle) {
    this.viewport.reveal(rectangle);
    this.#changed();
  }

  /** The zoom keys (+ - 0 1). Returns whether it was one. */
  handleKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "+" || event.key === "=") this.zoomBy(ZOOM_STEP);
    else if (event.key === "-" || event.key === "_") this.zoomBy(1 / ZOOM_STEP);
    else if (event.key === "0") this.fit();
    else if (event.key === "1") this.zoomTo(1);
    else return false;
    return true;
  }

  #changed() {
    this.invalidate();
    this.onViewChange();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth || !clientHeight) return;
    this.canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(clientHeight * devicePixelRatio);
    this.viewport.resize(clientWidth, clientHeight);
    // A canvas that changes its size is blank: draw within this frame, or it flickers.
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#draw();
    this.onViewChange();
  }

  /** On a screen of another density as many CSS pixels are more or fewer of the canvas. */
  #watchDensity() {
    const same = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    const changed = () => {
      this.#resize();
      this.#watchDensity();
    };
    same.addEventListener("change", changed, { once: true, signal: this.#abort.signal });
  }

  #draw() {
    const ctx = this.canvas.getContext("2d", { alpha: true });
    const { viewport } = this;
    const ratio = this.canvas.width / viewport.width;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, viewport.width, viewport.height);
    this.#drawPicture(ctx);
    for (const layer of this.#layers) {
      if (layer.visible === false) continue;
      ctx.save();
      ctx.globalAlpha = layer.opacity ?? 1;
      layer.draw(ctx, viewport);
      ctx.restore();
    }
  }

  #drawPicture(ctx) {
    const source = this.#levels.find((level) => levelWidth(level) >= this.wanted * 0.99) ?? this.#levels.at(-1);
    if (!source) return;
    const { viewport } = this;
    const [x0, y0, x1, y1] = viewport.visible();
    if (x0 >= x1 || y0 >= y1) return;
    const across = levelWidth(source) / viewport.imageWidth;
    const down = levelHeight(source) / viewport.imageHeight;
    ctx.imageSmoothingEnabled = viewport.scale < PIXELS_FROM || across < 1;
    ctx.imageSmoothingQuality = "medium";
    const [left, top] = viewport.toScreen(x0, y0);
    ctx.drawImage(
      source,
      x0 * across, y0 * down, (x1 - x0) * across, (y1 - y0) * down,
      left, top, (x1 - x0) * viewport.scale, (y1 - y0) * viewport.scale,
    );
  }

  #point(event) {
    const bounds = this.element.getBoundingClientRect();
    const sx = event.clientX - bounds.left - this.element.clientLeft;
    const sy = event.clientY - bounds.top - this.element.clientTop;
    const [x, y] = this.viewport.toImage(sx, sy);
    return { x, y, sx, sy, type: event.pointerType, event };
  }

  #down(event) {
    // First of all: a field that loses the focus may change what is shown, which would end a gesture that has begun.
    this.element.focus({ preventScroll: true });
    const point = this.#point(event);
    this.#pointers.set(event.pointerId, point);
    try {
      this.element.setPointerCapture(event.pointerId);
    } catch {
      // The pointer was lifted in the meantime.
    }
    if (this.#pointers.size === 2 && [...this.#pointers.values()].every((one) => one.type === "touch")) {
      this.#cancelTool();
      this.#gesture = "pinch";
    } else if (this.#pointers.size > 1) {
      return;
    } else if (event.button === 1 || (event.button === 0 && this.#space)) {
      this.#gesture = "pan";
      this.#showCursor(point);
    } else if (event.button === 0) {
      this.#gesture = "tool";
      this.tool.down?.(point);
      this.#showCursor(point);
    }
  }

  #move(event) {
    const point = this.#point(event);
    const before = this.#pointers.get(event.pointerId);
    if (event.pointerType !== "touch") this.#hovered = point;
    if (!before) {
      if (event.pointerType !== "touch") this.tool.hover?.(point);
      this.#showCursor(point);
      return;
    }
    if (this.#gesture === "pinch") this.#pinch(event.pointerId, point);
    else if (this.#gesture === "pan") this.panBy(point.sx - before.sx, point.sy - before.sy);
    this.#pointers.set(event.pointerId, point);
    if (this.#gesture === "tool") this.tool.move?.(point);
  }

  #up(event, cancelled = false) {
    if (!this.#pointers.delete(event.pointerId)) return;
    const gesture = this.#gesture;
    if (gesture === "tool") {
      this.#gesture = null;
      if (cancelled) this.tool.cancel?.();
      else this.tool.up?.(this.#point(event));
    }
    // A finger that stays down after a pinch neither draws nor pans.
    if (!this.#pointers.size) this.#gesture = null;
    this.#showCursor(this.#point(event));
  }

  #pinch(moved, point) {
    const [id] = [...this.#pointers.keys()].filter((other) => other !== moved);
    const other = this.#pointers.get(id);
    const before = this.#pointers.get(moved);
    if (!other) return;
    const distance = (a, b) => Math.hypot(a.sx - b.sx, a.sy - b.sy);
    const middle = (a, b) => [(a.sx + b.sx) / 2, (a.sy + b.sy) / 2];
    const [fromX, fromY] = middle(before, other);
    const [toX, toY] = middle(point, other);
    this.viewport.panBy(toX - fromX, toY - fromY);
    this.zoomBy(distance(point, other) / Math.max(1, distance(before, other)), toX, toY);
  }

  #wheel(event) {
    event.preventDefault();
    if (this.#gesture) return;
    const { sx, sy } = this.#point(event);
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : event.deltaMode === WheelEvent.DOM_DELTA_PAGE ? 400 : 1;
    if (event.shiftKey) {
      this.panBy(-(event.deltaX || event.deltaY) * unit, 0);
      return;
    }
    // A touchpad's pinch comes as a wheel with Ctrl and small steps.
    const speed = event.ctrlKey ? 0.01 : 0.0018;
    const delta = Math.max(-1000, Math.min(1000, event.deltaY * unit));
    this.zoomBy(Math.exp(-delta * speed), sx, sy);
  }

  #spaceKey(event, pressed) {
    if (event.key !== " ") return;
    if (!pressed) {
      this.#releaseSpace();
      return;
    }
    if (event.target !== document.body && event.target !== this.element) return;
    event.preventDefault();
    this.#space = true;
    this.#showCursor(null);
  }

  #releaseSpace() {
    this.#space = false;
    this.#showCursor(null);
  }

  #showCursor(point) {
    let cursor = "";
    if (this.#gesture === "pan") cursor = "grabbing";
    else if (this.#space) cursor = "grab";
    else if (point) cursor = this.tool.cursor?.(point) ?? "";
    else return void (this.element.style.cursor = "");
    this.element.style.cursor = cursor;
  }

  #cancelTool() {
    if (this.#gesture === "tool") this.tool.cancel?.();
  }

  /** What is being done with the pointer becomes nothing; it counts again once it was lifted. */
  cancelGesture() {
    this.#cancelTool();
    this.#gesture = this.#pointers.size ? "done" : null;
  }
}

const levelWidth = (source) => source.naturalWidth || source.width;
const levelHeight = (source) => source.naturalHeight || source.height;
