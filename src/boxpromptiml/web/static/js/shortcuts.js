// The overlay that lists what the keys do.

import { button, fill, h } from "./dom.js";

let dialog = null;

/** Show the overlay, or hide it when it is there. `sections`: `[{title, rows: [{keys, text}]}]`; keys apart by blanks. */
export function showShortcuts(sections) {
  if (dialog?.open) {
    dialog.close();
    return;
  }
  dialog ??= document.body.appendChild(
    h("dialog", { class: "dialog shortcuts", "aria-labelledby": "shortcuts-title", onClick: closeOnBackdrop }),
  );
  fill(
    dialog,
    h(
      "header",
      {},
      h("h2", { id: "shortcuts-title", text: "Keyboard shortcuts" }),
      button({ icon: "close", label: "Close", class: "quiet", onClick: () => dialog.close() }),
    ),
    h(
      "div",
      { class: "shortcuts-columns" },
      sections
        .filter(({ rows }) => rows.length)
        .map(({ title, rows }) =>
          h("section", {}, h("h3", { text: title }), h("dl", {}, rows.map(({ keys, text }) => row(keys, text)))),
        ),
    ),
  );
  dialog.showModal();
}

function row(keys, text) {
  const chords = keys.split(" ").filter(Boolean);
  return h(
    "div",
    {},
    h("dt", {}, chords.map((chord) => h("span", { class: "chord" }, chord.split(/(?<=.)\+/).map((key) => h("kbd", { text: key }))))),
    h("dd", { text }),
  );
}

function closeOnBackdrop(event) {
  if (event.target === event.currentTarget) event.currentTarget.close();
}
