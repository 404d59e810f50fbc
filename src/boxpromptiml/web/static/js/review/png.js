// 8-bit grey PNG, exactly: a canvas would write RGBA, and may not be as large as a photograph.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const STRIP_PIXELS = 1 << 22;

const CRC = new Uint32Array(256).map((_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/**
 * Encode a grey image as PNG.
 * @param {Uint8Array} values height x width, row by row.
 * @returns {Promise<Blob>} type image/png, colour type 0, 8 bits.
 */
export async function encodeGrey(values, width, height) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  const data = new Uint8Array(await new Response(deflated(values, width, height)).arrayBuffer());
  const parts = [new Uint8Array(SIGNATURE), ...chunk("IHDR", header), ...chunk("IDAT", data), ...chunk("IEND")];
  return new Blob(parts, { type: "image/png" });
}

/**
 * Decode a grey PNG without any change of its values.
 * @param {Blob} blob
 * @returns {Promise<{values: Uint8Array, width: number, height: number}>}
 */
export async function decodeGrey(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const values = new Uint8Array(width * height);
  // Strip by strip: browsers limit the area of a canvas, and four bytes a pixel add up.
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    const pixels = context.getImageData(0, 0, width, count).data;
    const start = top * width;
    for (let i = 0; i < width * count; i += 1) values[start + i] = pixels[4 * i];
  }
  bitmap.close();
  return { values, width, height };
}

/** The rows, each behind the byte of its filter (0: none), as a compressed stream. */
function deflated(values, width, height) {
  const rows = Math.max(1, Math.floor(STRIP_PIXELS / width));
  let top = 0;
  const source = new ReadableStream({
    pull(controller) {
      const count = Math.min(rows, height - top);
      const strip = new Uint8Array(count * (width + 1));
      for (let row = 0; row < count; row += 1) {
        const start = (top + row) * width;
        strip.set(values.subarray(start, start + width), row * (width + 1) + 1);
      }
      controller.enqueue(strip);
      top += count;
      if (top === height) controller.close();
    },
  });
  return source.pipeThrough(new CompressionStream("deflate"));
}

function chunk(type, data = new Uint8Array(0)) {
  const name = new TextEncoder().encode(type);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, data.length);
  let crc = 0xffffffff;
  for (const part of [name, data]) {
    for (let i = 0; i < part.length; i += 1) crc = CRC[(crc ^ part[i]) & 0xff] ^ (crc >>> 8);
  }
  const check = new Uint8Array(4);
  new DataView(check.buffer).setUint32(0, ~crc >>> 0);
  return [length, name, data, check];
}
