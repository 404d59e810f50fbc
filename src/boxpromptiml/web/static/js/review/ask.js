// A question that has to be answered before anything else happens.
//
// It may open under the fingers of somebody who gives one verdict after the other, with Enter. So nothing that could be
// chosen has the focus, and keys that were meant for the image do nothing.

import { button, h } from "../dom.js";

const DEAF = 600; // ms after opening in which keys are not answers

/**
 * @param choices `[{value, text, primary, danger}]`; Escape picks the first one, which must do no harm.
 * @returns {Promise<string>} the value that was chosen.
 */
export function ask(title, text, choices) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog ask", "aria-labelledby": "ask-title", "aria-describedby": "ask-text" });
    const heading = h("h2", { id: "ask-title", text: title, tabindex: -1 });
    const opened = performance.now();
    const choose = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    dialog.append(
      h("header", {}, heading),
      h("p", { id: "ask-text", text }),
      h(
        "footer",
        {},
        choices.map(({ value, text: label, primary, danger }) =>
          button({ text: label, class: [primary && "primary", danger && "danger"].filter(Boolean).join(" "), "data-choice": value, onClick: () => choose(value) }),
        ),
      ),
    );
    const deaf = (event) => {
      if (event.key === "Escape") return; // does no harm
      // A key that is still held from before repeats for longer.
      if (!event.repeat && performance.now() - opened >= DEAF) return;
      event.preventDefault();
      event.stopPropagation();
    };
    dialog.addEventListener("keydown", deaf, { capture: true });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      choose(choices[0].value);
    });
    document.body.append(dialog);
    dialog.showModal();
    heading.focus();
  });
}
