// The theme's colours for canvases.

let colours = null;

const NAMES = ["box", "mask", "heat", "text", "surface"];

/** `{box, mask, heat, ...}` as CSS colours. */
export function palette() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

const forget = () => (colours = null);
addEventListener("themechange", forget);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget);
