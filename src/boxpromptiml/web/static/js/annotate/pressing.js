// Buttons that decide: one press is one decision.

/**
 * Listeners of a button that does something to the image in sight.
 *
 * After a click by pointer the keys are for the picture again, or Enter would press the same button once more, on the
 * next image. A key that is held down presses once: it would run through the dataset.
 */
export function pressing(stage, does) {
  return {
    onClick: (event) => {
      does();
      if (event.detail > 0) stage.element.focus({ preventScroll: true });
    },
    onKeydown: (event) => {
      if (event.repeat && ["Enter", " "].includes(event.key)) event.preventDefault();
    },
  };
}
