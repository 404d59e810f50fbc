"""From photos on disk to masks and scores, step by step with the clock: where the time goes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boxpromptiml.images import decode_photo, encode_png, read_image_file
from boxpromptiml.runtime import Localization, Localizer, native_mask

# `Localizer.localize` takes these.
WHOLE = ("read and hash", "decode", "resize", "copies", "network", "score, mask, regions")
# A part of the last one, done once more by itself; and what comes after it in `boxpromptiml localize`.
UPSAMPLING, ENCODING = "of which mask at full size", "then: mask as PNG"
STEPS = (*WHOLE, UPSAMPLING, ENCODING)


def answer_photos(localizer: Localizer, photos: Sequence[str | Path]) -> tuple[list[Localization], dict[str, float]]:
    """Do what `Localizer.localize` does, photos as one batch, one step after the other, then encode the masks as PNG.

    Returns:
        The answers, and milliseconds of all photos together by the names of `STEPS`.

    Raises:
        ImageError: a photo cannot be read.
        ModelError: the network failed.
    """
    spent = dict.fromkeys(STEPS, 0.0)
    clock = time.perf_counter()

    def done(step: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        spent[step] += 1000 * (now - clock)
        clock = now

    spec = localizer.config.preprocessing
    sizes, fed, digests, answers = [], [], [], []
    for path in photos:
        data = read_image_file(path)
        digests.append(hashlib.sha256(data).hexdigest())
        done("read and hash")
        photo = decode_photo(data, path, enough=spec.enough)
        done("decode")
        item = spec.feed(photo)
        sizes.append((photo.width, photo.height))
        del photo
        done("resize")
        fed.append(localizer.with_copies(item))
        done("copies")
    maps = localizer.maps(fed)
    done("network")
    for path, digest, item, (width, height), values in zip(photos, digests, fed, sizes, maps, strict=True):
        answer = localizer.result(values, width, height, image=str(path), sha256=digest, copies=item.copies)
        answers.append(answer)
        done("score, mask, regions")
        native_mask(answer.map, answer.threshold, height, width)
        done(UPSAMPLING)
        encode_png(answer.mask.view(np.uint8) * np.uint8(255))
        done(ENCODING)
    return answers, spent
