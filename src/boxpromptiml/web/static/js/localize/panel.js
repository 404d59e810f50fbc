// What is said of a photo: verdict, score, regions, downloads.

import { button, fill, h } from "../dom.js";

export const percent = (part) => `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;

/** Of the score, not of truth: a model says "looks like", and may be wrong both ways. */
export const verdictOf = (score, threshold) => (score > threshold ? "tampered" : "authentic");

export const VERDICTS = {
  tampered: { text: "Signs of manipulation", badge: "danger" },
  authentic: { text: "No signs of manipulation", badge: "authentic" },
};

const placed = ([x0, y0, x1, y1]) => `${x1 - x0} × ${y1 - y0} pixels at ${x0}, ${y0}`;

/** What a copy is, in words: which part was pasted is the model's guess, that there are two is not. */
export function copySentence({ boxes, pasted, matches }) {
  const parts = pasted === 0 ? [boxes[1], boxes[0]] : boxes;
  const guess = pasted === null ? "Either may be the copy." : "The second looks pasted.";
  const evidence = matches ? `${matches} details agree` : "their grain agrees";
  return `A part is there twice: ${placed(parts[0])}, and ${placed(parts[1])} (${evidence}). ${guess}`;
}

/** The verdict with its score; `update(answer, threshold)` shows another. */
export function verdictCard() {
  const title = h("p", { class: "verdict-title" });
  const bar = h("div", { class: "verdict-bar", "aria-hidden": "true" }, h("span", { class: "verdict-fill" }), h("span", { class: "verdict-mark" }));
  const [filled, mark] = bar.children;
  const numbers = h("p", { class: "verdict-numbers" });
  const copies = h("ul", { class: "verdict-copies" });
  const element = h(
    "section",
    { class: "card verdict", "aria-labelledby": "verdict-heading" },
    h("h2", { class: "visually-hidden", id: "verdict-heading", text: "Verdict" }),
    title,
    bar,
    numbers,
    copies,
    h("p", {
      class: "note",
      text:
        "This is evidence, not proof. The score sums up the map's highest values; even where a model calibrates it, it is " +
        "a probability only for photos like those it was calibrated on. Look at the regions yourself.",
    }),
  );
  const update = (answer, threshold) => {
    const verdict = verdictOf(answer.score, threshold);
    element.dataset.verdict = verdict;
    title.textContent = VERDICTS[verdict].text;
    filled.style.width = `${100 * answer.score}%`;
    mark.style.left = `${100 * threshold}%`;
    numbers.textContent = `Score ${answer.score.toFixed(3)}, threshold ${threshold.toFixed(2)}`;
    const found = answer.copies ?? [];
    copies.hidden = !found.length;
    fill(
      copies,
      found.map((copy) => h("li", { text: copySentence(copy) })),
    );
  };
  return { element, update };
}

/** The regions of the mask; `update(regions, answer)` lists others. @param onPick called with (region, index). */
export function regionList(onPick) {
  const heading = h("h2", { text: "Regions" });
  const list = h("ol", { class: "regions" });
  const element = h("section", { class: "card" }, heading, list);
  const update = (regions, { width, height }) => {
    heading.textContent = regions.length ? `Regions (${regions.length})` : "Regions";
    if (!regions.length) {
      fill(list, h("li", { class: "note", text: "None: no pixel of the map is above the threshold." }));
      return;
    }
    fill(
      list,
      regions.slice(0, 50).map((region, index) => {
        return h(
          "li",
          {},
          button(
            { class: "region", title: "Show this region", onClick: () => onPick(region, index) },
            h("span", { class: "region-number", text: index + 1 }),
            h(
              "span",
              { class: "region-text" },
              h("span", { text: `${percent(region.area / (width * height))} of the photo` }),
              h("span", { class: "region-detail", text: placed(region.box) }),
            ),
            h("span", { class: "region-score", title: "Mean of the map in the region" }, region.score.toFixed(2)),
          ),
        );
      }),
      regions.length > 50 && h("li", { class: "note", text: `and ${regions.length - 50} smaller ones, in the downloaded data` }),
    );
  };
  return { element, update };
}

const FILES = [
  { file: "mask.png", text: "Mask", label: "Download the mask: PNG, the photo's own size" },
  { file: "map.png", text: "Map", label: "Download the map: PNG with 16 bits, the network's grid" },
  { file: "overlay.png", text: "Overlay", label: "Download the overlay: PNG to look at, at most 2048 pixels" },
  { file: "result.json", text: "Data", label: "Download the data: JSON with score, regions and run lengths" },
];

/** Buttons for the files. @param onSave called with the file's name, returns a promise. */
export function downloads(onSave) {
  const save = async (event, file) => {
    const control = event.currentTarget;
    control.disabled = true;
    try {
      await onSave(file);
    } finally {
      control.disabled = false;
      control.focus();
    }
  };
  return h(
    "section",
    { class: "card" },
    h("h2", { text: "Download" }),
    h(
      "div",
      { class: "downloads" },
      FILES.map(({ file, text, label }) =>
        button({ icon: "download", text, title: label, "aria-label": label, "data-file": file, onClick: (event) => save(event, file) }),
      ),
    ),
  );
}

/** Hand a file to the browser, which asks or saves it. */
export function saveFile({ blob, name }) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
