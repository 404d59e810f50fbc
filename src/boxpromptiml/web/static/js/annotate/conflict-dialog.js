// Questions about changes: two people changed one image, or a change was refused.

import { button, h } from "../dom.js";
import { sameBox } from "../canvas/boxes.js";
import { palette } from "./palette.js";
import { contentOf, stateOf } from "./annotation.js";
import { STATE_NAMES } from "./image-list.js";

const SIDE = 300;
const GUARD_MS = 600; // a key or click that was on its way when the question came up is no answer to it

/**
 * Ask which content shall stay; resolves to it, or to null where `signal` took the question back. `picture`: an
 * ImageBitmap of the image, or null.
 */
export function askConflict({ image, width, height, mine, theirs, picture }, signal) {
  return ask("conflict", "Somebody else changed this image", signal, (choose) => {
    const version = (title, content, text) =>
      h(
        "section",
        { class: "conflict-version" },
        h("h3", { text: title }),
        drawn(content, width, height, picture),
        h("p", { text: describe(content) }),
        h("ol", { class: "conflict-boxes" }, content.boxes.map((box) => h("li", { text: box.join(", ") }))),
        button({ text, onClick: () => choose(content) }),
      );
    const both = union(mine, theirs);
    return [
      h("p", { class: "conflict-name", text: image }),
      h("div", { class: "conflict-versions" }, version("Yours", mine, "Keep mine"), version("Theirs", contentOf(theirs), "Take theirs")),
      both && h("footer", {}, button({ text: `Keep both: ${describe(both)}`, onClick: () => choose(both) })),
    ];
  });
}

/** Tell that a change was refused for good, and why; resolves to "retry", "discard", or null as `askConflict`. */
export function askFailed(text, signal) {
  return ask("failed", "A change could not be saved", signal, (choose) => [
    h("p", { class: "conflict-name", text: `${text}.` }),
    h(
      "footer",
      {},
      button({ text: "Discard the change", class: "danger", onClick: () => choose("discard") }),
      button({ text: "Try again", class: "primary", onClick: () => choose("retry") }),
    ),
  ]);
}

/**
 * A question without a way out but its buttons. None of them has the focus, and for a moment none can be pressed: the
 * person is in the middle of drawing, and Enter or Space were meant for the picture.
 *
 * @param content `(choose) -> children`; `choose(value)` answers the question.
 */
function ask(name, title, signal, content) {
  return new Promise((resolve) => {
    if (signal.aborted) return void resolve(null);
    const heading = h("h2", { id: `${name}-title`, text: title, tabindex: "-1", autofocus: true });
    const choose = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    const dialog = h("dialog", { class: `dialog ${name}`, "aria-labelledby": heading.id }, h("header", {}, heading), content(choose));
    const buttons = [...dialog.querySelectorAll("button")];
    let guarded = true;
    for (const one of buttons) one.disabled = true;
    setTimeout(() => {
      guarded = false;
      for (const one of buttons) one.disabled = false;
    }, GUARD_MS);
    dialog.addEventListener("keydown", (event) => {
      // A key that is held down is not an answer either.
      if (guarded || (event.repeat && ["Enter", " "].includes(event.key))) event.preventDefault();
    });
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    signal.addEventListener("abort", () => choose(null), { once: true });
    document.body.append(dialog);
    dialog.showModal();
    heading.focus();
  });
}

/** The boxes of both, or null where that says nothing else than one of them. */
function union(mine, theirs) {
  const added = mine.boxes.filter((box) => !theirs.boxes.some((other) => sameBox(box, other)));
  const all = [...theirs.boxes, ...added];
  if (all.length === theirs.boxes.length || all.length === mine.boxes.length) return null;
  return { boxes: all, label: "tampered", skipped: false };
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
  try {
    if (picture) ctx.drawImage(picture, 0, 0, canvas.width, canvas.height);
  } catch {
    // It was closed in the meantime. The boxes say what there is to choose from, also without it.
  }
  for (const [x0, y0, x1, y1] of boxes) {
    for (const [style, line] of [["rgb(0 0 0 / 65%)", 4], [palette().box, 2]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = line;
      ctx.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
    }
  }
  return canvas;
}
