// Ways for photos to come in: dropped, pasted, chosen.

import { h, icon } from "../dom.js";

const TYPES = "image/png,image/jpeg,image/tiff,image/webp,image/bmp,.png,.jpg,.jpeg,.tif,.tiff,.webp,.bmp";

/**
 * A label that is a button for choosing files; works by keyboard, and says its name to screen readers.
 * @param onFiles called with an array of File.
 */
export function chooser(text, onFiles, { primary = false } = {}) {
  const input = h("input", { type: "file", accept: TYPES, multiple: true, class: "visually-hidden chooser-input" });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that choosing the same file again is a change
    if (files.length) onFiles(files);
  });
  return h("label", { class: `button chooser${primary ? " chooser-primary" : ""}` }, input, icon("plus"), h("span", { text }));
}

/**
 * Take files that are dropped on an element or pasted anywhere.
 * @param signal ends it.
 */
export function takeFiles(element, onFiles, signal) {
  let depth = 0; // elements within that the pointer entered and did not leave
  const over = (is) => element.classList.toggle("dropping", is);
  const on = (target, name, handler) => target.addEventListener(name, handler, { signal });
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  on(element, "dragenter", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    over(true);
  });
  on(element, "dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (!depth) over(false);
  });
  on(element, "dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  on(element, "drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    onFiles([...event.dataTransfer.files]);
  });
  // A photo that misses the view must not replace the page.
  on(window, "dragover", (event) => hasFiles(event) && event.preventDefault());
  on(window, "drop", (event) => hasFiles(event) && event.preventDefault());
  on(document, "paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    onFiles(files);
  });
}
