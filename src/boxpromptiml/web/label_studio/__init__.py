"""A Label Studio ML backend: boxes drawn there in, brush masks of our teachers out."""

from boxpromptiml.web.label_studio.addresses import HostRule, Origin, parse_origin
from boxpromptiml.web.label_studio.backend import Backend
from boxpromptiml.web.label_studio.fetching import Fetcher, FetchRules
from boxpromptiml.web.label_studio.pictures import Pictures
from boxpromptiml.web.label_studio.routes import create_backend_app
from boxpromptiml.web.label_studio.tokens import Token

__all__ = [
    "Backend",
    "FetchRules",
    "Fetcher",
    "HostRule",
    "Origin",
    "Pictures",
    "Token",
    "create_backend_app",
    "parse_origin",
]
