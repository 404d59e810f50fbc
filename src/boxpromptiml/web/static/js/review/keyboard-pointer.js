// The pointer of those who use no pointing device: arrow keys move a crosshair, Enter presses and lifts.

const BIG = 24; // CSS pixels a step, 1 with Shift

export class KeyboardPointer {
  #stage;
  #announce;
  #at = null; // image pixels; null while it is not in use
  #pressed = false;

  constructor(stage, announce) {
    this.#stage = stage;
    this.#announce = announce;
    stage.addLayer({ draw: (ctx, viewport) => this.#draw(ctx, viewport) });
    stage.element.addEventListener("pointerdown", () => this.leave());
    stage.element.addEventListener("blur", () => this.leave());
  }

  /** Whether a press is going on that Escape takes back. */
  get pressed() {
    return this.#pressed;
  }

  leave() {
    if (this.#pressed) this.#stage.tool.cancel?.();
    if (this.#at) this.#stage.tool.hover?.(null);
    this.#pressed = false;
    this.#at = null;
    this.#stage.invalidate();
  }

  /** @param drags whether the tool draws between press and lift; otherwise Enter is a click. Returns whether it was for it. */
  handleKey(event, drags) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) this.#move(step, event);
    else if (event.key === "Enter" && this.#at) this.#press(drags, event);
    else if (event.key === "Escape" && this.#at) this.leave();
    else return false;
    return true;
  }

  #move([dx, dy], event) {
    const { viewport } = this.#stage;
    const { imageWidth: width, imageHeight: height } = viewport;
    this.#at ??= [width / 2, height / 2];
    // With Shift one pixel of the image, otherwise a step that is as long at any zoom, rounded to whole pixels.
    const size = event.shiftKey ? 1 : Math.max(1, Math.round(BIG / viewport.scale));
    const clamp = (value, high) => Math.min(high, Math.max(0, Math.round(value)));
    this.#at = [clamp(this.#at[0] + dx * size, width), clamp(this.#at[1] + dy * size, height)];
    this.#stage.reveal([this.#at[0], this.#at[1], this.#at[0], this.#at[1]]);
    if (this.#pressed) this.#stage.tool.move?.(this.#point(event));
    else this.#stage.tool.hover?.(this.#point(event));
    this.#announce(`${this.#at[0]}, ${this.#at[1]}`);
    this.#stage.invalidate();
  }

  #press(drags, event) {
    const { tool } = this.#stage;
    const point = this.#point(event);
    if (!drags) {
      tool.down?.(point);
      tool.up?.(point);
      return;
    }
    if (this.#pressed) tool.up?.(point);
    else tool.down?.(point);
    this.#pressed = !this.#pressed;
    this.#announce(this.#pressed ? "Pressed. Move with the arrow keys; Enter lifts, Escape takes it back" : "Lifted");
  }

  #point(event) {
    const [x, y] = this.#at;
    const [sx, sy] = this.#stage.viewport.toScreen(x, y);
    return { x, y, sx, sy, type: "mouse", event };
  }

  #draw(ctx, viewport) {
    if (!this.#at) return;
    const [x, y] = viewport.toScreen(...this.#at);
    for (const [style, width] of [["rgb(0 0 0 / 75%)", 4], ["#fff", 2]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width;
      ctx.beginPath();
      ctx.moveTo(x - 14, y);
      ctx.lineTo(x + 14, y);
      ctx.moveTo(x, y - 14);
      ctx.lineTo(x, y + 14);
      ctx.stroke();
    }
  }
}
