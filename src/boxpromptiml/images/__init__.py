"""The one place that opens image files: upright, 8 bits, never half read, never without a limit.

What every function here does:

- The EXIF (or TIFF, or XMP) orientation is applied: arrays and sizes are those of the upright image.
- 16 bits become 8 by their high byte, grey as well as colour; they are scaled, never clipped.
- Alpha and palette transparency are dropped, not composited, as the field's detectors do (``convert("RGB")``): an edit
  under a transparent pixel stays visible.
- Colour profiles are not applied. CMYK becomes RGB by Pillow's plain rule; Adobe's inverted CMYK JPEGs are handled.
- The first frame or page counts. Floating-point and Lab pixels are refused: they have no defined 8-bit range.
- PNG, JPEG, TIFF, WebP and BMP are read, by what is in the file; a suffix that says otherwise is an error.
- The checksums of a PNG are compared, those of its pixels too, so that no mask is read with a byte changed.
- Sizes and orientations come from headers and metadata; nothing is decoded for them.

All functions may be called from many threads at once.
"""

from boxpromptiml.images.finding import find_images, iter_files
from boxpromptiml.images.kinds import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from boxpromptiml.images.opening import DEFAULT_MAX_PIXELS
from boxpromptiml.images.reading import (
    Enough,
    Photo,
    decode_image,
    decode_mask,
    decode_photo,
    decode_picture,
    encoded_size,
    image_size,
    mask_is_coloured,
    open_image,
    open_mask,
    picture_pixels,
    read_image_file,
)
from boxpromptiml.images.shrinking import browser_type, open_shrunk
from boxpromptiml.images.writing import encode_png, save_png

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IMAGE_SUFFIXES",
    "UNREAD_SUFFIXES",
    "Enough",
    "Photo",
    "browser_type",
    "decode_image",
    "decode_mask",
    "decode_photo",
    "decode_picture",
    "encode_png",
    "encoded_size",
    "find_images",
    "image_size",
    "iter_files",
    "mask_is_coloured",
    "open_image",
    "open_mask",
    "open_shrunk",
    "picture_pixels",
    "read_image_file",
    "save_png",
]
