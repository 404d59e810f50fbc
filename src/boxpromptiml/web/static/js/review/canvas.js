// The image with everything that lies over it, and the tools.

import { BoxTool } from "../annotate/box-tool.js";
import { PictureStore } from "../annotate/picture-store.js";
import { Overlay } from "../canvas/overlay.js";
import { Stage } from "../canvas/stage.js";
import { KeyboardPointer } from "./keyboard-pointer.js";
import { BrushTool, LookTool, PointTool } from "./tools.js";

const PREVIEW = [0, 190, 230];

export class ReviewCanvas {
  tool = "look";
  mask = new Overlay();
  preview = new Overlay();
  #image = null;
  #pictures;
  #holds = new Set(); // functions that say why nothing can be changed now
  // In the place of a tool that is held: it is seen where the pointer is, and does nothing.
  #idle = { down: () => this.refuse(), cursor: () => "wait", hover: (point) => this.#chosen.hover?.(point) };

  constructor(api, announce) {
    this.#pictures = new PictureStore(api);
    this.stage = new Stage({ label: "Image with its mask. Arrow keys move a pointer where a drawing tool is chosen" });
    this.stage.addLayer(this.mask);
    this.preview.colour = PREVIEW;
    this.preview.strength = 0.55;
    this.stage.addLayer(this.preview);
    this.look = new LookTool(this.stage);
    this.box = new BoxTool(this.stage);
    this.point = new PointTool(this.stage);
    this.brush = new BrushTool(this.stage);
    this.pointer = new KeyboardPointer(this.stage, announce);
    this.stage.onViewChange = () => this.#sharpen();
    this.setTool("look");
  }

  destroy() {
    this.stage.destroy();
    this.#pictures.clear();
  }

  /** While held, no tool changes anything; the image can still be zoomed and moved. */
  get held() {
    return this.#holds.size > 0;
  }

  /** Hold the tools; `why` is called where one is used all the same. Returns what lets them go again. */
  hold(why) {
    const own = () => why();
    this.#holds.add(own);
    this.#take();
    return () => {
      if (this.#holds.delete(own)) this.#take();
    };
  }

  /** Say why nothing can be changed now. Returns whether that is so. */
  refuse() {
    const [why] = this.#holds;
    why?.();
    return this.held;
  }

  setTool(name) {
    this.stage.tool.hover?.(null);
    this.tool = name;
    this.box.enabled = name === "box";
    this.brush.layer.visible = name === "brush" || name === "eraser";
    this.brush.value = name === "eraser" ? 0 : 255;
    this.#take();
    this.stage.invalidate();
  }

  get #chosen() {
    const { look, box, point, brush } = this;
    return { look, box, include: point, exclude: point, brush, eraser: brush }[this.tool];
  }

  /** Give the pointer to the chosen tool, as far as it may do something. */
  #take() {
    // What is half drawn belongs to the tool that draws it.
    this.pointer.leave();
    this.stage.cancelGesture();
    this.stage.tool = this.held && this.tool !== "look" ? this.#idle : this.#chosen;
  }

  /** Whether the tool draws between press and lift. */
  get drags() {
    return this.tool === "box" || this.brush.layer.visible;
  }

  /** The picture of an image, to be shown; `signal` ends it. */
  async loadPicture(image, signal) {
    this.#pictures.keep(image);
    const giveUp = () => this.#pictures.giveUp(image);
    signal?.addEventListener("abort", giveUp, { once: true });
    try {
      return await this.#pictures.load(image, "view");
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
  }

  showPicture(bitmap, { image, width, height }) {
    this.#image = image;
    this.stage.setImage(bitmap, width, height);
  }

  /** Show nothing at all. */
  clear() {
    this.#image = null;
    this.setTool(this.tool); // what is half drawn goes too
    this.stage.setImage(null, 1, 1);
    this.showPreview(null);
    this.showMask(null);
  }

  prefetch(image) {
    this.#pictures.focus([this.#image, image]);
    this.#pictures.load(image, "view");
  }

  showMask(painted) {
    this.mask.field = painted && { values: painted.values, width: painted.width, height: painted.height, smooth: false };
    this.brush.mask = painted;
    this.redrawMask();
  }

  redrawMask() {
    this.mask.changed();
    this.stage.invalidate();
  }

  /** A mask that is not stored, or null. */
  showPreview(field) {
    this.preview.field = field && { ...field, smooth: true };
    this.preview.visible = field !== null;
    this.preview.changed();
    this.stage.invalidate();
  }

  showPrompts(prompts) {
    this.box.show(prompts);
    this.point.points = prompts?.points ?? [];
    this.stage.invalidate();
  }

  setMode(mode) {
    this.mask.mode = mode;
    this.preview.mode = mode === "outline" ? "outline" : "fill";
    this.preview.changed();
    this.redrawMask();
  }

  /** Fetch all pixels once they can be seen. */
  async #sharpen() {
    const { stage } = this;
    const image = this.#image;
    if (!image || !stage.sharpest || stage.wanted <= stage.sharpest * 1.05) return;
    if (this.#pictures.ready(image, "full")) return;
    try {
      const bitmap = await this.#pictures.load(image, "full");
      if (image === this.#image && bitmap.width > stage.sharpest) stage.addLevel(bitmap);
    } catch {
      // The picture that is there is good enough to go on with.
    }
  }
}
