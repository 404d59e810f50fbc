"""The query of a request for localizations.

Read here and not by FastAPI's own parameters: they cost a tenth of what a small network does, and most requests have
none.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import QueryParams

from boxpromptiml.http.errors import HttpError
from boxpromptiml.serve.answers import Output, Picture


def _words(value: Any) -> Any:
    return [word for part in value for word in part.split(",")] if isinstance(value, list) else value


class Asked(BaseModel):
    """What a client may choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="For pixels and verdict; default: the model's own."
    )
    output: Output | None = Field(
        None, description="What to answer with; default: what the Accept header asks for, a mask for PNG."
    )
    include: Annotated[tuple[Picture, ...], BeforeValidator(_words)] = Field(
        (),
        description="Pictures to put into JSON as base64 of PNG: mask_png, map_png, overlay_png. Several separated by "
        "commas, or by repeating it.",
    )
    detail: bool = Field(
        False,
        description="Look at tiles of each photo at its own size too, and for smaller copies: many times the work.",
    )
    tta: bool = Field(False, description="Look at everything four times, as it is and mirrored, and average.")
    name: str = Field("image", max_length=255, description="What a single image is called in the answer.")
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds after which an answer is of no use; the service's own limit holds too."
    )


_NOTHING = Asked()


def read_query(query: bytes) -> Asked:
    """Read a query string.

    Raises:
        HttpError: 422, an unknown parameter or a value that is not allowed.
    """
    if not query:
        return _NOTHING
    given = QueryParams(query)
    values: dict[str, Any] = dict(given)
    if "include" in values:
        values["include"] = given.getlist("include")
    try:
        return Asked.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "extra_forbidden":
            raise HttpError(
                422, f"{first['loc'][0]}: there is no such parameter; there are {', '.join(Asked.model_fields)}"
            ) from None
        raise HttpError(422, f"{first['loc'][0]}: {first['msg']}") from None


def parameters() -> list[dict[str, Any]]:
    """The same for OpenAPI."""
    listed: list[dict[str, Any]] = []
    for name, schema in Asked.model_json_schema()["properties"].items():
        description = schema.pop("description", "")
        location: Literal["query"] = "query"
        listed.append({"name": name, "in": location, "required": False, "description": description, "schema": schema})
    return listed
