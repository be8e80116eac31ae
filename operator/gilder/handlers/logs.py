"""Structured logs: one line per fact, as JSON or for the console; no secret in any of them."""

import logging
import re
import sys
from collections.abc import Mapping

import structlog

# What AWS, Kubernetes or a library may repeat in an error: a name, and behind it the secret.
_SECRET = re.compile(
    r"(?i)((?:x-amz-security-token|secret_?access_?key|session_?token|security_?token|password|"
    r"client_?secret|authorization|x-amz-signature)[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?)"
    r"[^\s\"',;&}]+"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[a-z0-9._~+/=-]{16,}")
_IN_URL = re.compile(r"(\w://[^\s/:@]+:)[^\s/@]+(?=@)")
HIDDEN = r"\1***"


def redacted(text: str) -> str:
    """A text without the secrets that can be told by what stands before them."""
    for pattern in (_SECRET, _BEARER, _IN_URL):
        text = pattern.sub(HIDDEN, text)
    return text


def _redact(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {k: _clean(v) for k, v in event.items()}


def _clean(value: object) -> object:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return redacted(str(value)) if isinstance(value, BaseException) else value


def configure(fmt: str, level: str) -> None:
    """Send structlog's and the libraries' logs to standard error in one format."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=[])],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact,
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries that tell every request or connection.
    for name in ("botocore", "boto3", "urllib3", "kubernetes", "aiohttp", "asyncio", "kopf"):
        logging.getLogger(name).setLevel(logging.WARNING)
