"""The log of a build in CloudWatch Logs: a group per image, a stream per build version."""

from typing import Any

from moto.logs.models import logs_backends

from gilder.sandbox.aws.imagebuilder.store import Build


def write(build: Build, at: float, message: str) -> None:
    backend: Any = logs_backends[build.account][build.region]
    backend.ensure_log_group(build.log_group)
    streams = backend.groups[build.log_group].streams
    if build.log_stream not in streams:
        backend.create_log_stream(build.log_group, build.log_stream)
    streams[build.log_stream].put_log_events([{"timestamp": int(at * 1000), "message": message}])
