// Two people changed one image: both versions side by side, and a choice.

import { button, fill, h } from "../dom.js";
import { palette } from "./palette.js";
import { stateOf } from "./annotation.js";
import { STATE_NAMES } from "./image-list.js";

const SIDE = 300;

/** Ask which version shall stay; resolves to true for mine. `picture`: an ImageBitmap of the image, or null. */
export function askConflict({ image, width, height, mine, theirs, picture }) {
  return new Promise((resolve) => {
    const close = (keepMine) => {
      dialog.close();
      dialog.remove();
      resolve(keepMine);
    };
    const version = (title, content, text, keepMine) =>
      h(
        "section",
        { class: "conflict-version" },
        h("h3", { text: title }),
        drawn(content, width, height, picture),
        h("p", { text: describe(content) }),
        h("ol", { class: "conflict-boxes" }, content.boxes.map((box) => h("li", { text: box.join(", ") }))),
        button({ text, class: keepMine ? "primary" : "", onClick: () => close(keepMine) }),
      );
    const dialog = h(
      "dialog",
      { class: "dialog conflict", "aria-labelledby": "conflict-title" },
      h("header", {}, h("h2", { id: "conflict-title", text: "Somebody else changed this image" })),
      h("p", { class: "conflict-name", text: image }),
      h("div", { class: "conflict-versions" }, version("Yours", mine, "Keep mine", true), version("Theirs", theirs, "Take theirs", false)),
    );
    // Nothing is decided by accident: there is no way out without a choice.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Tell that a change was refused for good; resolves to "retry" or "discard". */
export function askFailed({ image, message }) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog failed", "aria-labelledby": "failed-title" });
    const close = (choice) => {
      dialog.close();
      dialog.remove();
      resolve(choice);
    };
    fill(
      dialog,
      h("header", {}, h("h2", { id: "failed-title", text: "A change could not be saved" })),
      h("p", { class: "conflict-name", text: `${image}: ${message}.` }),
      h(
        "footer",
        {},
        button({ text: "Discard the change", class: "danger", onClick: () => close("discard") }),
        button({ text: "Try again", class: "primary", onClick: () => close("retry") }),
      ),
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}

function describe(content) {
  const state = stateOf(content);
  if (state !== "boxed") return STATE_NAMES[state];
  return `${content.boxes.length} box${content.boxes.length === 1 ? "" : "es"}`;
}

function drawn({ boxes }, width, height, picture) {
  const scale = SIDE / Math.max(width, height);
  const canvas = h("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)), "aria-hidden": "true" });
  const ctx = canvas.getContext("2d");
  if (picture) ctx.drawImage(picture, 0, 0, canvas.width, canvas.height);
  for (const [x0, y0, x1, y1] of boxes) {
    for (const [style, line] of [["rgb(0 0 0 / 65%)", 4], [palette().box, 2]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = line;
      ctx.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
    }
  }
  return canvas;
}
