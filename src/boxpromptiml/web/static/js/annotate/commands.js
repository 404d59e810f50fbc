// What can be done by a key: one table for the keyboard, the buttons and the shortcuts overlay.

/** `keys` as shown; `match` lists `[key, modifiers]` as events carry them; `run` is a method of the workbench. */
export const COMMANDS = [
  { run: "acceptAndNext", keys: "Enter", match: [["Enter"]], text: "tampered as drawn, next image" },
  { run: "authentic", keys: "A", match: [["a"]], text: "authentic, next image" },
  { run: "skip", keys: "S", match: [["s"]], text: "skip, next image (without boxes only)" },
  { run: "next", keys: "N PageDown", match: [["n"], ["PageDown"]], text: "next image" },
  { run: "previous", keys: "P PageUp", match: [["p"], ["PageUp"]], text: "previous image" },
  { run: "nextUnlabelled", keys: "J", match: [["j"]], text: "jump to the next unlabelled image" },
  { run: "undo", keys: "Ctrl+Z", match: [["z", "ctrl"]], text: "undo", repeat: true },
  { run: "redo", keys: "Ctrl+Shift+Z Ctrl+Y", match: [["z", "ctrl+shift"], ["y", "ctrl"]], text: "redo", repeat: true },
  { run: "newBox", keys: "B", match: [["b"]], text: "new box in the middle of the view" },
  { run: "selectNext", keys: "]", match: [["]"]], text: "select the next box", repeat: true },
  { run: "selectPrevious", keys: "[", match: [["["]], text: "select the previous box", repeat: true },
  { run: "removeBox", keys: "Del", match: [["Delete"], ["Backspace"]], text: "delete the selected box" },
  { run: "deselect", keys: "Esc", match: [["Escape"]], text: "let go of the box, or of the one being drawn" },
  { run: "toggleBoxes", keys: "V", match: [["v"]], text: "hide or show the boxes" },
  { run: "toggleMask", keys: "T", match: [["t"]], text: "teacher's mask on or off" },
  { run: "toggleHeat", keys: "H", match: [["h"]], text: "student's suggestion on or off" },
  { run: "acceptSuggestion", keys: "Y", match: [["y"]], text: "take the suggestion over as boxes" },
  { run: "fadeOut", keys: ",", match: [[","]], text: "overlays fainter", repeat: true },
  { run: "fadeIn", keys: ".", match: [["."]], text: "overlays stronger", repeat: true },
  { run: "focusSearch", keys: "/", match: [["/"]], text: "find images by name" },
  { run: "focusList", keys: "L", match: [["l"]], text: "go to the list of images" },
  { run: "focusStage", keys: "D", match: [["d"]], text: "go to the drawing area" },
];

// Done by other parts; here so that the overlay is complete.
const ELSEWHERE = [
  { keys: "← → ↑ ↓", text: "move the selected box, or pan" },
  { keys: "Shift+Arrow", text: "move its right and bottom sides" },
  { keys: "Ctrl+Arrow", text: "the same by single pixels" },
  { keys: "Shift+Drag", text: "draw inside another box" },
  { keys: "+ -", text: "zoom (also wheel and pinch)" },
  { keys: "0", text: "whole image" },
  { keys: "1", text: "image pixels" },
  { keys: "Space+Drag", text: "pan (also middle button, two fingers)" },
];

export const SHORTCUTS = [...COMMANDS.map(({ keys, text }) => ({ keys, text })), ...ELSEWHERE];

/** The command of a key event, or null. */
export function commandOf(event) {
  if (event.altKey) return null;
  // Which signs need Shift is the keyboard's affair: "/" is Shift+7 on a German one.
  const sign = event.key.length === 1 && !/\p{L}/u.test(event.key);
  const held = [(event.ctrlKey || event.metaKey) && "ctrl", event.shiftKey && !sign && "shift"].filter(Boolean).join("+");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const found = COMMANDS.find(({ match }) => match.some(([wanted, modifiers = ""]) => wanted === key && modifiers === held));
  // Held down, a key would run through image after image.
  return found && (!event.repeat || found.repeat) ? found : null;
}
