// The least that makes elements pleasant to write.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `on<Name>` attributes are listeners, `class`, `text` and properties such as `value` mean what they say;
 * false, null and undefined leave an attribute out, true writes an empty one. Children may be nested lists.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...flat(children));
  return element;
}

export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on") && typeof value === "function") {
      element.addEventListener(name.slice(2).toLowerCase(), value);
    } else if (name === "text") {
      element.textContent = value ?? "";
    } else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") {
      element[name] = value;
    } else if (value === false || value === null || value === undefined) {
      element.removeAttribute(name);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
}

/** Put other children in the place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/** An SVG icon of 24 x 24 units, drawn by strokes in the text's colour; decoration only. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon, a text, or both; `label` is what it is called where the text does not say it. */
export function button({ icon: iconName, text, label, keys, ...attributes }, ...children) {
  const title = [label ?? text, keys && `(${keys})`].filter(Boolean).join(" ");
  return h(
    "button",
    { type: "button", title, "aria-label": text ? undefined : label, "aria-keyshortcuts": undefined, ...attributes },
    iconName && icon(iconName),
    text && h("span", { class: "button-text", text }),
    ...children,
  );
}

/** Call `wanted` once, `delay` ms after the last call of what is returned. `.flush()` calls at once, `.cancel()` never. */
export function debounce(wanted, delay) {
  let timer = 0;
  let pending = null;
  const flush = () => {
    clearTimeout(timer);
    const args = pending;
    pending = null;
    if (args) wanted(...args);
  };
  const later = (...args) => {
    pending = args;
    clearTimeout(timer);
    timer = setTimeout(flush, delay);
  };
  later.flush = flush;
  later.cancel = () => {
    clearTimeout(timer);
    pending = null;
  };
  return later;
}

/** Whether a key event is meant for a form field rather than for the page. */
export function isTyping(event) {
  const target = event.target;
  if (!(target instanceof Element)) return false;
  return target.matches("textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=file])");
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

const ICONS = {
  eraser: "M9 20h11M4.500 14.500 14 5l6 6-9 9H8.500ZM9 10l6 6",
  hand: "M8 12V6.500a1.500 1.500 0 0 1 3 0V11M11 10V4.500a1.500 1.500 0 0 1 3 0V11M14 11V6a1.500 1.500 0 0 1 3 0v8a6.500 6.500 0 0 1-6.500 6.500c-3 0-4.500-2-5.500-4L3.500 14a1.500 1.500 0 0 1 2.500-1.500l2 2.500",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 3v18M12 7h5M12 11h8.5M12 15h8",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.5M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z",
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "M15 14l5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  skip: "M5 5l7 7-7 7M13 5l7 7-7 7",
  jump: "M4 5v14M9 12h11M15 7l5 5-5 5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  box: "M5 5h14v14H5Z",
  mask: "M12 4c5 0 8 3 8 8s-3 8-8 8-8-3-8-8 3-8 8-8ZM8 12h8M9 8.5h6M9 15.5h6",
  bulb: "M9.5 18h5M10 21h4M12 3a6 6 0 0 0-3.5 10.9c.6.5 1 1.2 1 2.1h5c0-.9.4-1.6 1-2.1A6 6 0 0 0 12 3Z",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  panel: "M4 5h16v14H4ZM15 5v14",
  close: "M6 6l12 12M18 6L6 18",
  cloud: "M7 18a4.5 4.5 0 0 1-.5-9A6 6 0 0 1 18 10.5 3.8 3.8 0 0 1 17.5 18Z",
  offline: "M3 3l18 18M7 18a4.5 4.5 0 0 1-.5-9 6 6 0 0 1 1-1.600M10.5 5.500A6 6 0 0 1 18 10.500a3.8 3.8 0 0 1 2.5 6",
  warning: "M12 4 2.5 20h19ZM12 10v4.500M12 17.500v.5",
  refresh: "M20 11a8 8 0 1 0-2.3 6.300M20 4v7h-7",
  download: "M12 4v11M7 11l5 5 5-5M4 20h16",
  brush: "M14 4l6 6-8 8c-2 2-6 2-8 2 0-2 0-6 2-8Z",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 21 21",
  keyboard: "M3 7h18v10H3ZM7 14h10M6.5 10.500h.01M10 10.500h.01M13.5 10.500h.01M17 10.500h.01",
};
