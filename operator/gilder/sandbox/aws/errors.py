"""AWS errors, raised inside a handler or written by the gateway in the protocol of a service."""

import json
from xml.sax.saxutils import escape

from moto.core.exceptions import ServiceException

QUERY_SERVICES = frozenset({"sts", "iam", "sns", "sqs", "cloudformation", "autoscaling"})


class AwsError(ServiceException):
    """An error by code and message; moto writes it in the protocol of the service."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


class DryRunError(AwsError):
    def __init__(self) -> None:
        super().__init__("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


def error_body(service: str, code: str, message: str) -> tuple[str, str]:
    """Content type and body of an error, as the SDKs expect it from `service`."""
    if service == "ec2":
        return "text/xml;charset=UTF-8", (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Response><Errors><Error><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error></Errors>"
            "<RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
        )
    if service in QUERY_SERVICES:
        return "text/xml", (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error>"
            "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
        )
    return "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message})
