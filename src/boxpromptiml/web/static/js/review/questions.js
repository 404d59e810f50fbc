// What a person is asked before something of theirs is lost.

import { ask } from "./ask.js";

/** "store", "discard" or "stay". */
export const askStrokes = () =>
  ask("Your strokes are not stored", "What you painted on this mask is not stored yet.", [
    { value: "stay", text: "Stay here" },
    { value: "store", text: "Store my mask", primary: true },
    { value: "discard", text: "Discard it", danger: true },
  ]);

/** "make", "discard" or "stay". */
export const askPrompts = () =>
  ask("No mask was made of your changes", "You changed boxes or clicks, and the teacher has not made a mask of them.", [
    { value: "stay", text: "Stay here" },
    { value: "make", text: "Make the mask", primary: true },
    { value: "discard", text: "Discard the changes", danger: true },
  ]);

/** "go" or "stay". */
export const askReplace = () =>
  ask("Your strokes would be lost", "The teacher's mask takes the place of what you painted.", [
    { value: "stay", text: "Keep my strokes" },
    { value: "go", text: "Make the mask", danger: true },
  ]);

/** "mine", "theirs" or "stay". */
export function askConflict(theirs) {
  const maker = theirs.pseudo ? `, its mask made by ${theirs.pseudo.teacher}` : "";
  return ask("Somebody else changed this image", `It is ${state(theirs)}${maker}. Yours is not stored.`, [
    { value: "stay", text: "Decide later" },
    { value: "theirs", text: "Show theirs, discard mine" },
    { value: "mine", text: "Store mine over theirs", danger: true },
  ]);
}

export const tellConflict = (theirs) =>
  ask("Somebody else changed this image", `It is ${state(theirs)}. Your verdict was not stored; look at it again and decide.`, [
    { value: "show", text: "Show it", primary: true },
  ]);

function state({ review, boxes }) {
  return `${review ?? "open"} now, with ${boxes.length} box${boxes.length === 1 ? "" : "es"}`;
}
