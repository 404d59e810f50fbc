// The keys of the image and its tools: each does what a button beside the image does.

import { MODES, TOOLS } from "./panel.js";
import { SIZES } from "./tools.js";

/**
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
