// Buttons and lists beside a picture: one press is one decision.

/**
 * For all buttons and lists in `element`, those that come later too.
 *
 * After a click by pointer the keys are for the picture again, or Enter would press the same button once more, on the
 * next image. A key that is held down presses once: it would run through the dataset.
 */
export function pressing(element, stage) {
  const isButton = ({ target }) => target instanceof Element && target.closest("button") !== null;
  element.addEventListener("click", (event) => {
    if (event.detail > 0 && isButton(event)) stage.element.focus({ preventScroll: true });
  });
  // Likewise after a choice from a list by pointer; who chooses by keys goes through the list first.
  let byPointer = false;
  element.addEventListener("pointerdown", ({ target }) => (byPointer = target.matches("select, select *")));
  element.addEventListener("change", ({ target }) => {
    if (byPointer && target.matches("select")) stage.element.focus({ preventScroll: true });
  });
  element.addEventListener("keydown", (event) => {
    byPointer = false;
    if (event.repeat && ["Enter", " "].includes(event.key) && isButton(event)) event.preventDefault();
  });
}
