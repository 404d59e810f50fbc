// A question that has to be answered before anything else happens.

import { button, h } from "../dom.js";

/**
 * @param choices `[{value, text, primary, danger}]`; Escape picks the last one, which must do no harm.
 * @returns {Promise<string>} the value that was chosen.
 */
export function ask(title, text, choices) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog ask", "aria-labelledby": "ask-title", "aria-describedby": "ask-text" });
    const choose = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    dialog.append(
      h("header", {}, h("h2", { id: "ask-title", text: title })),
      h("p", { id: "ask-text", text }),
      h(
        "footer",
        {},
        choices.map(({ value, text: label, primary, danger }) =>
          button({ text: label, class: [primary && "primary", danger && "danger"].filter(Boolean).join(" "), "data-choice": value, onClick: () => choose(value) }),
        ),
      ),
    );
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      choose(choices.at(-1).value);
    });
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector(".primary")?.focus();
  });
}
