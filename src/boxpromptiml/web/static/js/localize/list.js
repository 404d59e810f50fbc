// The list of photos, for more than one.

import { button, fill, h } from "../dom.js";
import { VERDICTS, verdictOf } from "./panel.js";

const STATES = { waiting: "waits", asking: "…", failed: "failed" };

/** Scroll the list alone, by as little as need be: the page stays where a person has put it. */
function bringIntoView(list, item) {
  if (!item) return;
  const [outer, inner] = [list.getBoundingClientRect(), item.getBoundingClientRect()];
  list.scrollTop += Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom);
}

/** `update(photos, selected, threshold)` shows them. @param onSelect, onRemove called with the photo. */
export function photoList(onSelect, onRemove) {
  const element = h("ul", { class: "photos", "aria-label": "Photos" });
  const item = (photo, selected, threshold) => {
    const { state, name } = photo;
    const verdict = state === "done" ? VERDICTS[verdictOf(photo.answer.score, threshold)] : null;
    const badge = verdict
      ? h("span", { class: `badge ${verdict.badge}`, title: verdict.text, text: photo.answer.score.toFixed(2) })
      : h("span", { class: `badge ${state}`, text: STATES[state] });
    return h(
      "li",
      {},
      button(
        { class: "photo", "aria-current": photo === selected ? "true" : null, "data-photo": photo.id, title: name, onClick: () => onSelect(photo) },
        h("span", { class: "photo-name", text: name }),
        verdict && h("span", { class: "visually-hidden", text: verdict.text }),
        badge,
      ),
      button({ icon: "close", label: `Remove ${name}`, class: "quiet small", "data-remove": photo.id, onClick: () => onRemove(photo) }),
    );
  };
  let shown = null; // the photo that was brought into view
  const update = (photos, selected, threshold) => {
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    const place = [...element.children].indexOf(focused?.closest("li"));
    fill(element, photos.map((photo) => item(photo, selected, threshold)));
    if (focused) {
      const name = focused.dataset.photo ? "data-photo" : "data-remove";
      // Where the photo is gone, the one that has taken its place.
      const same = element.querySelector(`[${name}="${focused.getAttribute(name)}"]`);
      (same ?? [...element.children].slice(0, place + 1).at(-1)?.querySelector(`[${name}]`))?.focus({ preventScroll: true });
    }
    if (selected !== shown) bringIntoView(element, element.children[photos.indexOf(selected)]);
    shown = selected;
  };
  return { element, update };
}
