// Why a pseudo mask is suspicious, in plain words.

const FLAGS = {
  empty: "the teacher found nothing in it",
  "far-smaller-than-box": "the mask is far smaller than the box",
  "fills-box": "the mask fills the whole box",
  "leaves-box": "much of the mask lies outside of the box",
  "low-quality": "the teacher is unsure of its mask",
};

const FALLBACKS = { ellipse: "an ellipse stands in for its mask", box: "the whole box stands in for its mask" };

/** One sentence a finding: `[{text, box}]`, `box` the number of the box from 0, or null for the whole mask. */
export function reasonsOf(record) {
  const { pseudo, boxes } = record;
  if (!pseudo) return [];
  const found = [];
  if (pseudo.stale) found.push({ text: "The boxes were changed after this mask was made.", box: null });
  const count = Math.max(pseudo.flags.length, pseudo.fallbacks.length);
  for (let box = 0; box < count; box += 1) {
    const parts = (pseudo.flags[box] ?? []).map((flag) => FLAGS[flag] ?? flag);
    const quality = pseudo.qualities[box];
    if (quality !== null && quality !== undefined && parts.includes(FLAGS["low-quality"])) {
      parts[parts.indexOf(FLAGS["low-quality"])] += ` (its own estimate is ${quality.toFixed(2)})`;
    }
    const fallback = pseudo.fallbacks[box];
    if (fallback) parts.push(FALLBACKS[fallback] ?? `${fallback} stands in for its mask`);
    if (parts.length) found.push({ text: `Box ${box + 1}: ${parts.join("; ")}.`, box: box < boxes.length ? box : null });
  }
  return found;
}

/** Who made the mask. */
export function makerOf({ teacher }) {
  return teacher === "person" ? "painted by a person" : `made by ${teacher}`;
}
