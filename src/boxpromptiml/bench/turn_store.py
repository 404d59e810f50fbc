"""Finished turns on disk: an interrupted run goes on with the first one that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import write_json


class TurnStore:
    """Answers by turn, in one JSON file. What belongs to other models, settings or machines is begun anew.

    Args:
        path: the file; None keeps nothing.
        identity: what the answers depend on, as JSON values.

    Raises:
        BoxPromptError: the path holds something else.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = json.loads(json.dumps(identity))
        self._answers: dict[str, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            same, answers = known["identity"] == self._identity, dict(known["answers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BoxPromptError(f"{path}: not the state of an interrupted measurement; move it away") from error
        if same:
            self._answers = answers

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer of a turn that is done."""
        return self._answers.get(key)

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer."""
        self._answers[key] = answer
        if self._path is not None:
            write_json(self._path, {"identity": self._identity, "answers": self._answers})
