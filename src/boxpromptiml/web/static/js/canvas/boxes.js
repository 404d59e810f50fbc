// Geometry of boxes. Pure functions over [x0, y0, x1, y1]: whole image pixels, half-open, inside the image, never empty.

/** The eight handles: -1, 0 or 1 on each axis says which sides follow the pointer. */
export const HANDLES = [
  [-1, -1], [0, -1], [1, -1],
  [-1, 0], [1, 0],
  [-1, 1], [0, 1], [1, 1],
].map(([hx, hy]) => Object.freeze({ hx, hy }));

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** One side of a box from two places on an axis: the nearest pixel edges inside [0, size], at least one pixel apart. */
function span(a, b, size) {
  let low = clamp(Math.round(Math.min(a, b)), 0, size);
  let high = clamp(Math.round(Math.max(a, b)), 0, size);
  if (low === high) {
    // Thinner than half a pixel: the pixel that it lies in.
    low = clamp(Math.floor(Math.min(a, b)), 0, size - 1);
    high = low + 1;
  }
  return [low, high];
}

/** The box between two corners in any order, given in fractions of pixels, anywhere. */
export function boxBetween(ax, ay, bx, by, width, height) {
  const [x0, x1] = span(ax, bx, width);
  const [y0, y1] = span(ay, by, height);
  return [x0, y0, x1, y1];
}

/** The same box moved by whole pixels; it stops at the image's border and keeps its size. */
export function moveBox([x0, y0, x1, y1], dx, dy, width, height) {
  const mx = clamp(Math.round(dx), -x0, width - x1);
  const my = clamp(Math.round(dy), -y0, height - y1);
  return [x0 + mx, y0 + my, x1 + mx, y1 + my];
}

/**
 * A box one of whose handles was dragged to (x, y). Dragged over the opposite side, the box turns over.
 *
 * Always apply this to the box as it was when the drag began: then it does not matter through which places it went.
 */
export function resizeBox([x0, y0, x1, y1], { hx, hy }, x, y, width, height) {
  const [left, right] = hx ? span(x, hx < 0 ? x1 : x0, width) : [x0, x1];
  const [top, bottom] = hy ? span(y, hy < 0 ? y1 : y0, height) : [y0, y1];
  return [left, top, right, bottom];
}

/** Whole pixels, inside the image, in order and not empty; what a form's numbers become. */
export function tidyBox([x0, y0, x1, y1], width, height) {
  return boxBetween(x0, y0, x1, y1, width, height);
}

export const boxArea = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);

export const sameBox = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

export const sameBoxes = (a, b) => a.length === b.length && a.every((box, i) => sameBox(box, b[i]));

export const insideBox = ([x0, y0, x1, y1], x, y, slack = 0) =>
  x >= x0 - slack && x <= x1 + slack && y >= y0 - slack && y <= y1 + slack;

/** Where a handle of a box lies. */
export function handlePoint([x0, y0, x1, y1], { hx, hy }) {
  return [hx < 0 ? x0 : hx > 0 ? x1 : (x0 + x1) / 2, hy < 0 ? y0 : hy > 0 ? y1 : (y0 + y1) / 2];
}

/**
 * The handle of a box at (x, y), or null. Corners win over sides; a side can be taken anywhere along its length.
 *
 * In a box too small for its handles the grip is only taken outward, so that there is a middle left to move it by.
 */
export function handleAt(box, x, y, reach) {
  const [x0, y0, x1, y1] = box;
  if (!insideBox(box, x, y, reach)) return null;
  const inwardX = Math.min(reach, (x1 - x0) / 4);
  const inwardY = Math.min(reach, (y1 - y0) / 4);
  const hx = x <= x0 + inwardX ? -1 : x >= x1 - inwardX ? 1 : 0;
  const hy = y <= y0 + inwardY ? -1 : y >= y1 - inwardY ? 1 : 0;
  return HANDLES.find((handle) => handle.hx === hx && handle.hy === hy) ?? null;
}

/**
 * What lies at (x, y): `{index, handle}` to resize, `{index, handle: null}` to move, or null.
 *
 * The selected box comes first, then grips, then the smallest box around the point: a box within another can be taken.
 */
export function hitTest(boxes, x, y, reach, selected = -1) {
  if (boxes[selected]) {
    const handle = handleAt(boxes[selected], x, y, reach);
    if (handle) return { index: selected, handle };
    if (insideBox(boxes[selected], x, y)) {
      const inner = smallest(boxes, (box) => insideBox(box, x, y) && boxArea(box) < boxArea(boxes[selected]));
      return { index: inner < 0 ? selected : inner, handle: null };
    }
  }
  const gripped = smallest(boxes, (box) => handleAt(box, x, y, reach) !== null);
  const around = smallest(boxes, (box) => insideBox(box, x, y));
  if (gripped >= 0 && (around < 0 || boxArea(boxes[gripped]) <= boxArea(boxes[around]))) {
    return { index: gripped, handle: handleAt(boxes[gripped], x, y, reach) };
  }
  return around < 0 ? null : { index: around, handle: null };
}

function smallest(boxes, fits) {
  let best = -1;
  boxes.forEach((box, i) => {
    if (fits(box) && (best < 0 || boxArea(box) < boxArea(boxes[best]))) best = i;
  });
  return best;
}

/** The CSS cursor for a handle, or for moving. */
export function cursorFor(hit) {
  if (!hit) return "crosshair";
  if (!hit.handle) return "move";
  const { hx, hy } = hit.handle;
  if (hx && hy) return hx === hy ? "nwse-resize" : "nesw-resize";
  return hx ? "ew-resize" : "ns-resize";
}
