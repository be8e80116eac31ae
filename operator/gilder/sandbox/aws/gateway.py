"""The WSGI layer in front of moto: reads who calls what, counts, applies faults, mends errors."""

import io
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from gilder.sandbox.aws.accounts import account_of
from gilder.sandbox.aws.assumed import SESSIONS, refusal
from gilder.sandbox.aws.counting import CallKey, Requests
from gilder.sandbox.aws.errors import error_body
from gilder.sandbox.aws.events import EventBus
from gilder.sandbox.aws.faults import NOBODY, Answer, Caller, Faults
from gilder.sandbox.aws.routes import action_of_route
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT
from gilder.sandbox.aws.staleness import whole

log = logging.getLogger(__name__)
StartResponse = Callable[..., Any]
# In the user agent of calls that are out of reach of faults, and not counted.
HANDS = "gilder-sandbox-hands"
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/")
_REASONS = {400: "Bad Request", 403: "Forbidden", 500: "Internal Server Error", 503: "Unavailable"}


class Gateway:
    """Wraps moto's WSGI application."""

    def __init__(self, app: WsgiApp, requests: Requests, faults: Faults, bus: EventBus) -> None:
        self._app = app
        self._bus = bus
        self._requests = requests
        self._faults = faults

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/moto-api"):
            return self._app(environ, start_response)
        key = identify(environ)
        # moto takes the account from this header before it looks at the credentials.
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = key.account
        hands = HANDS in environ.get("HTTP_USER_AGENT", "")
        if not hands:
            self._requests.record(key)
        caller, refused = _caller(key, environ)
        if refused is not None:
            return _answer(key, refused, start_response)
        fault = None if hands else self._faults.apply(key, after_effect=False, caller=caller)
        if fault is not None:
            return _answer(key, fault, start_response)
        told = self._begin(key, environ)
        request = _raw(environ) if self._faults.stale.lag else b""
        sent: list[tuple[Any, ...]] = []
        try:
            body = self._app(environ, lambda *args: sent.append(args))
        except NotImplementedError as problem:
            return _answer(key, _unsupported(problem), start_response)
        except Exception as problem:
            log.warning("%s:%s failed inside moto", key.service, key.action, exc_info=problem)
            return _answer(
                key, Answer("InternalError", f"moto failed: {problem!r}", 500), start_response
            )
        if told is not None:
            body = [b"".join(body)]
            told(int(sent[0][0].split()[0]), body[0])
        if not hands:
            lost = self._faults.apply(key, after_effect=True, caller=caller)
            if lost is not None:
                return _answer(key, lost, start_response)
            if self._faults.stale.lag:
                head, body = self._faults.stale.reply(key, request, whole(sent, body))
                sent = [head]
        start_response(*sent[0])
        return body

    def _begin(self, key: CallKey, environ: dict[str, Any]) -> Callable[[int, bytes], None] | None:
        """For a call that events tell of: what is to be told of its end."""
        if not self._bus.watches(key):
            return None
        raw = _raw(environ)
        match = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        session = SESSIONS.find(match[1]) if match else None
        return self._bus.begin(key, raw, environ.get("HTTP_USER_AGENT", ""), session)


def identify(environ: dict[str, Any]) -> CallKey:
    """Service, action, Region and account of a request; the body is kept for moto."""
    match = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    access_key, region, service = match.groups() if match else ("", "us-east-1", "unknown")
    target = environ.get("HTTP_X_AMZ_TARGET")
    route = action_of_route(service, environ)
    if target:
        action = target.rsplit(".", 1)[-1]
    elif route is not None:
        action = route
    else:
        action = _action_of_form(environ)
    account = account_of(access_key) if access_key else DEFAULT_ACCOUNT
    return CallKey(service, action, region, account)


def _raw(environ: dict[str, Any]) -> bytes:
    """The body of a request, which stays there to be read."""
    raw: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(raw)
    return raw


def _caller(key: CallKey, environ: dict[str, Any]) -> tuple[Caller, Answer | None]:
    """The session behind a call, and why its credentials are refused."""
    match = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    session = SESSIONS.find(match[1]) if match else None
    if session is None:
        return NOBODY, None
    problem = refusal(key.service, session, environ.get("HTTP_X_AMZ_SECURITY_TOKEN"))
    refused = Answer(*problem, 400 if key.service == "ec2" else 403) if problem else None
    return Caller(session.arn, session.role_arn), refused


def _action_of_form(environ: dict[str, Any]) -> str:
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    text = environ.get("QUERY_STRING", "")
    if form:
        text = _raw(environ).decode("utf-8", "replace")
    match = re.search(r"(?:^|&)Action=(\w+)", text)
    if match:
        return match[1]
    values = parse_qs(text).get("Action")
    return values[0] if values else f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}"


def _unsupported(problem: NotImplementedError) -> Answer:
    return Answer("UnsupportedOperation", f"The sandbox does not implement this: {problem}")


def _answer(key: CallKey, answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    if answer.drop:
        # werkzeug closes the connection without an answer when it sees this.
        raise ConnectionResetError("dropped by a fault of the sandbox")
    if answer.raw is not None:
        start_response(
            f"{answer.status} {_REASONS.get(answer.status, 'OK')}",
            [("Content-Type", "text/html"), ("Content-Length", str(len(answer.raw)))],
        )
        return [answer.raw]
    content_type, text = error_body(key.service, answer.code, answer.message)
    body = text.encode()
    reason = _REASONS.get(answer.status, "Error")
    start_response(
        f"{answer.status} {reason}",
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("x-amzn-ErrorType", answer.code),
            ("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000"),
        ],
    )
    return [body]
