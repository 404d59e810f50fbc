// The keys of the review: each does what a button does.

import { MODES, TOOLS } from "./panel.js";
import { SIZES } from "./tools.js";

export const SHORTCUTS = [
  { keys: "A Enter", text: "accept (with strokes: store them as your mask)" },
  { keys: "R", text: "reject" },
  { keys: "U", text: "take the last verdict back" },
  { keys: "→ N PageDown", text: "next mask" },
  { keys: "← P PageUp", text: "previous mask" },
  { keys: "V B", text: "look; draw boxes" },
  { keys: "I X", text: "click what belongs, what does not" },
  { keys: "D E", text: "brush, eraser" },
  { keys: "[ ]", text: "smaller, larger brush" },
  { keys: "Ctrl+Z Ctrl+Shift+Z", text: "undo, redo a stroke, box or click" },
  { keys: "Delete", text: "remove the selected box" },
  { keys: "S", text: "store my mask" },
  { keys: "T", text: "make the mask again with the teacher" },
  { keys: "M", text: "fill, outline, mask alone" },
  { keys: "H G", text: "mask, boxes on or off" },
  { keys: ", .", text: "less, more opacity" },
  { keys: "↑ ↓ ← → Enter", text: "on the image, with a drawing tool: move, press, lift" },
  { keys: "+ - 0 1", text: "zoom in, out, fit, 100 %" },
];

const MEANINGS = {
  a: "accept", Enter: "accept", r: "reject", u: "undo",
  n: "next", ArrowRight: "next", PageDown: "next", p: "previous", ArrowLeft: "previous", PageUp: "previous",
};

/** What a key says of the whole image: accept, reject, undo, next or previous; undefined for all others. */
export function meaningOf({ key, target, ctrlKey, metaKey }) {
  if (ctrlKey || metaKey) return undefined;
  if (key.startsWith("Arrow") && target.matches("input")) return undefined;
  if (key === "Enter" && target.matches("button, a, input, summary")) return undefined;
  return MEANINGS[key.length === 1 ? key.toLowerCase() : key];
}

/**
 * The keys of the image and its tools.
 * @param on the callbacks of the panel. @param selected the box that Delete removes, -1 for none.
 * @returns whether the key was one of them.
 */
export function handleKey(event, on, canvas, selected) {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return false;
    if (key === "y" || event.shiftKey) on.redo();
    else on.undo();
    return true;
  }
  if (event.target === canvas.stage.element && canvas.tool !== "look" && canvas.pointer.handleKey(event, canvas.drags)) return true;
  const tool = Object.keys(TOOLS).find((name) => TOOLS[name].key === key);
  const modes = Object.keys(MODES);
  const size = (by) => on.size(SIZES[Math.min(SIZES.length - 1, Math.max(0, SIZES.indexOf(canvas.brush.size) + by))]);
  if (tool) on.tool(tool);
  else if (key === "[") size(-1);
  else if (key === "]") size(1);
  else if (key === "m") on.mode(modes[(modes.indexOf(canvas.mask.mode) + 1) % modes.length]);
  else if (key === "h") on.hide();
  else if (key === "g") on.boxes();
  else if (key === ",") on.opacity(canvas.mask.strength - 0.1);
  else if (key === ".") on.opacity(canvas.mask.strength + 0.1);
  else if (key === "s") on.store();
  else if (key === "t") on.remake();
  else if (key === "escape") on.tool("look");
  else if ((key === "delete" || key === "backspace") && selected >= 0) on.removeBox(selected);
  else return canvas.stage.handleKey(event);
  return true;
}
