"""The HTTP service: photos in, localizations out, for platforms (needs FastAPI, uvicorn and prometheus-client)."""

from boxpromptiml.errors import MissingExtraError

try:
    from boxpromptiml.http.server import base_address, listen
    from boxpromptiml.serve.app import create_app
    from boxpromptiml.serve.keys import Keys, read_keys
    from boxpromptiml.serve.running import run
    from boxpromptiml.serve.settings import ModelSource, ServeSettings
    from boxpromptiml.serve.workers import Task, run_workers
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "fastapi", "serve") from error

__all__ = [
    "Keys",
    "ModelSource",
    "ServeSettings",
    "Task",
    "base_address",
    "create_app",
    "listen",
    "read_keys",
    "run",
    "run_workers",
]
