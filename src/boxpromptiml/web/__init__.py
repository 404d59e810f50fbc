"""The page: annotate, review and localize in the browser, served by this machine (needs FastAPI)."""

from boxpromptiml.errors import MissingExtraError

try:
    from boxpromptiml.http.server import listen
    from boxpromptiml.web.app import create_app
    from boxpromptiml.web.server import serve
    from boxpromptiml.web.settings import WebSettings, WebState
except ModuleNotFoundError as error:
    # What is missing here must be one of the packages that serve; the teachers' are asked for when they are loaded.
    raise MissingExtraError(error.name or "fastapi", "web") from error

__all__ = ["WebSettings", "WebState", "create_app", "listen", "serve"]
