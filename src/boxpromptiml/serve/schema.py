"""What OpenAPI says of requests and answers, with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from boxpromptiml.serve.query import parameters
from boxpromptiml.serve.reading import Batch


class Rle(BaseModel):
    """A region's pixels: COCO run-length encoding, compressed, at the image's own size."""

    size: list[int] = Field(description="Height and width.")
    counts: str = Field(description="Run lengths, column by column.")


class Region(BaseModel):
    """One connected region of the mask."""

    box: list[int] = Field(description="x0, y0, x1, y1: absolute pixels of the upright image, half-open.")
    area: int = Field(description="Pixels.")
    score: float = Field(description="Mean probability over its pixels.")
    rle: Rle


class Copy(BaseModel):
    """A part of the image that is there twice."""

    boxes: list[list[int]] = Field(description="Of the two parts: x0, y0, x1, y1 each.")
    pasted: Literal[0, 1] | None = Field(description="Which of them was pasted; null: it could be either.")
    matrix: list[list[float]] = Field(
        description="Affine map from the first part to the second: two rows of three, pixels by their centres."
    )
    similarity: float = Field(description="Median correlation of the two, in [0, 1].")
    matches: int = Field(description="Keypoints that both have; 0 where their grain alone agrees.")


class Result(BaseModel):
    """What was found in an image."""

    image: str = Field(description="Its name, as it was given.")
    sha256: str = Field(description="Of the file's bytes.")
    width: int = Field(description="Of the upright image.")
    height: int = Field(description="Of the upright image.")
    score: float = Field(description="How tampered the image is, in [0, 1]; of a calibrated model, a probability.")
    verdict: Literal["tampered", "authentic"] = Field(description="tampered where the score is above the threshold.")
    threshold: float
    regions: list[Region] = Field(description="Largest first.")
    detail: bool = Field(
        False, description="Whether tiles at the photo's own size were looked at too, and smaller copies looked for."
    )
    tta: bool = Field(False, description="Whether all was looked at four times, mirrored.")
    copies: list[Copy] = Field([], description="Where the model looks for them; left out where there are none.")
    model: str = Field(description="First 16 digits of the SHA-256 of the network's file.")
    seconds: float = Field(description="Work on this image, without waiting.")
    mask_png: str | None = Field(None, description="With include=mask: base64 of an 8-bit grey PNG, 0 or 255.")
    map_png: str | None = Field(
        None, description="With include=map: base64 of a 16-bit grey PNG, probability x 65535, on the network's grid."
    )
    overlay_png: str | None = Field(None, description="With include=overlay: base64 of an RGB PNG to look at.")


class Failure(BaseModel):
    """An image of a batch that could not be looked at."""

    image: str
    error: str = Field(description="One line: what is wrong.")
    status: int = Field(description="What it would have been answered with on its own.")


class Results(BaseModel):
    """Answers to a form or a batch, in its order."""

    results: list[Result | Failure]


class Error(BaseModel):
    """What is wrong, in one line."""

    error: str


class Limits(BaseModel):
    """Of one request."""

    upload_bytes: int
    pixels: int = Field(description="Of one image.")
    images: int
    seconds: float
    tiles: int = Field(description="Of one photo with detail=true, which is refused where this is 0.")


class Model(BaseModel):
    """What is served."""

    id: str
    name: str
    threshold: float
    looks: int = Field(description="How often the network looks at a photo: 2 also turned by half.")
    copies: bool = Field(description="Whether parts that are there twice are looked for.")
    completion: bool = Field(description="Whether what is marked of an object becomes all of it.")
    adaptive: bool = Field(description="Whether the threshold follows each photo.")
    input: str = Field(description="Size of the network's input.")
    runtime: str
    precision: str
    device: str
    limits: Limits


_RESULT: dict[str, Any] = {
    "image": "beach.jpg",
    "sha256": "6f2f4d1be33f0c1f6ac18f8a0a1eb9f2c3a4a8f0b8d3c7d4e5f60718293a4b5c",
    "width": 384,
    "height": 256,
    "score": 0.934112,
    "verdict": "tampered",
    "threshold": 0.5,
    "regions": [
        {"box": [96, 64, 192, 128], "area": 6144, "score": 0.91, "rle": {"size": [256, 384], "counts": "PPc12n70000"}}
    ],
    "model": "0f9a1c5e2b7d4863",
    "seconds": 0.0071,
}
_FAILURE = {"image": "notes.txt", "error": "notes.txt: is not an image (PNG, JPEG, TIFF, WebP or BMP)", "status": 415}
_BINARY = {"type": "string", "format": "binary"}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"

LOCALIZE_REQUEST: dict[str, Any] = {
    "parameters": parameters(),
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": _BINARY},
            "image/png": {"schema": _BINARY},
            "image/webp": {"schema": _BINARY},
            "image/tiff": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": _BINARY}},
                    "required": ["file"],
                },
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "title": "Batch",
                    "description": Batch.__doc__,
                    "required": ["images"],
                    "additionalProperties": False,
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["data"],
                                "additionalProperties": False,
                                "properties": {
                                    "data": {"type": "string", "format": "byte", "description": "The file, base64."},
                                    "name": {"type": "string", "maxLength": 255},
                                },
                            },
                        }
                    },
                },
                "examples": {"one pixel": {"value": {"images": [{"name": "pixel.png", "data": _PIXEL}]}}},
            },
        },
    },
}


def _error(description: str, message: str, *, retry: bool = False) -> dict[str, Any]:
    headers = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}} if retry else {}
    return {
        "model": Error,
        "description": description,
        "headers": headers,
        "content": {"application/json": {"example": {"error": message}}},
    }


LOCALIZE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Result | Results,
        "description": "What was found: JSON, or with Accept: image/png or output=mask|map|overlay a picture.",
        "content": {
            "application/json": {
                "examples": {
                    "an image as it is": {"value": _RESULT},
                    "a form or a batch": {"value": {"results": [_RESULT, _FAILURE]}},
                }
            },
            "image/png": {"schema": _BINARY},
        },
    },
    400: _error("The body cannot be read.", "the form is cut short: its last boundary is missing"),
    401: _error("No key, or a wrong one.", "the API key is missing or wrong"),
    406: _error("No such answer.", "answers are application/json or image/png; the Accept header takes neither"),
    408: _error("The body did not arrive in time.", "the body took longer than 30 s"),
    413: _error("Too many bytes, pixels or images.", "more than 64 MB in one request"),
    415: _error("No image that is read.", "image: is not an image (PNG, JPEG, TIFF, WebP or BMP)"),
    422: _error("A parameter or JSON of another shape.", "threshold: Input should be less than or equal to 1"),
    429: _error("Too much is waiting already.", "64 images are waiting already; try again later", retry=True),
    503: _error("Not ready, or out of memory for bodies.", "the model is being loaded; try again", retry=True),
    504: _error("Not done in time.", "not done within 30 s", retry=True),
}

READY_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": {"status": "ready"}}}},
    503: {
        "description": "Loading the model, or stopping.",
        "content": {"application/json": {"example": {"status": "not ready", "error": "loading the model"}}},
    },
}

METRICS_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format.",
        "content": {"text/plain": {"example": 'boxpromptiml_requests_total{route="/v1/localize",status="200"} 1027.0'}},
    }
}
