"""Services with paths that moto lacks: their application, and their operations by name."""

from typing import Any

from flask import Flask
from moto.core.responses import BaseResponse
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import HTTP_METHODS, BackendRequest


def create_app(service: str, response: type[BaseResponse]) -> Any:
    """The WSGI application that moto's server runs for a service."""

    def dispatch(*args: Any) -> Any:
        return response.dispatch(*args)

    app = Flask(service)
    # Exceptions go on to the gateway, as those of moto's own services.
    app.debug = True
    app.request_class = BackendRequest
    app.add_url_rule(
        "/<path:path>",
        endpoint=service,
        methods=HTTP_METHODS,
        view_func=convert_to_flask_response(dispatch),
    )
    return app
