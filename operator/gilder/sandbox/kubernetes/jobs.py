"""Jobs that run: the controller's threads, and what tests say that Jobs do.

All of it is a client of the API, so it works with a real kube-apiserver too. There is no kubelet
there, so nothing serves the logs of its pods; terminationMessagePolicy FallbackToLogsOnError puts
the end of a failed log into the pod's status in both.
"""

import logging
import re
import threading
import time
from types import TracebackType
from typing import Self

import requests

from gilder.sandbox.kubernetes.batch import JOB_NAME
from gilder.sandbox.kubernetes.behaviours import Behaviour, Behaviours, JobRun, Work
from gilder.sandbox.kubernetes.client import Client, RefusedError
from gilder.sandbox.kubernetes.cluster import Cluster
from gilder.sandbox.kubernetes.jobcontroller import JOBS, JobController
from gilder.sandbox.kubernetes.kubelet import PODS, Kubelet
from gilder.sandbox.kubernetes.logs import PodLogs

__all__ = ["JobRun", "Jobs", "Work"]

_logger = logging.getLogger(__name__)
_RETRY_SECONDS = 0.2
# A look at everything in case that a watch has missed something.
_RESYNC_SECONDS = 30.0
_STOP_SECONDS = 10


class Jobs:
    """Runs the Jobs of a cluster from start() to stop()."""

    def __init__(self, cluster: Cluster, *, backoff: float = 0.0) -> None:
        """`backoff`: seconds before the first retry, doubled with each; Kubernetes has 10."""
        self._behaviours = Behaviours()
        self._client = Client(cluster.url, cluster.token)
        self.logs = PodLogs() if cluster.server is None else cluster.server.api.logs
        self._kubelet = Kubelet(self._client, self._behaviours, self.logs)
        self._controller = JobController(self._client, self._kubelet, backoff)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def behave(
        self, pattern: str, work: Work, seconds: float = 0.0, times: int | None = None
    ) -> None:
        """What Jobs do whose `<namespace>/<name>` the pattern matches in full.

        The newest behaviour that matches counts, for so many runs as `times` says. A run lasts
        `seconds` before `work` is called; when the pod is deleted meanwhile it is not called.
        """
        self._behaviours.add(Behaviour(re.compile(pattern), work, seconds, times))

    def fail_next(
        self, pattern: str = ".*", log: str = "", exit_code: int = 1, times: int = 1
    ) -> None:
        """Let the next runs of matching Jobs fail."""

        def fail(run: JobRun) -> int:
            if log:
                run.log(log)
            return exit_code

        self.behave(pattern, fail, times=times)

    def start(self) -> None:
        self._thread.start()
        for resource, labels in ((JOBS, ""), (PODS, JOB_NAME)):
            threading.Thread(
                target=self._watch, args=(resource, labels), name=f"watch {resource}", daemon=True
            ).start()

    def stop(self) -> None:
        """Start nothing any more and end all runs; further calls do nothing."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._kubelet.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _watch(self, resource: str, labels: str) -> None:
        while not self._stopping.is_set():
            try:
                for _ in self._client.watch(resource, labels):
                    if self._stopping.is_set():
                        return
                    self._wake.set()
            except requests.RequestException:
                self._stopping.wait(_RETRY_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            due: float | None
            try:
                due = self._controller.sync()
            except (RefusedError, requests.RequestException):
                due = time.time() + _RETRY_SECONDS
            except Exception:
                _logger.exception("the Job controller failed")
                due = time.time() + _RETRY_SECONDS
            pause = _RESYNC_SECONDS if due is None else due - time.time()
            self._wake.wait(min(max(pause, 0.0), _RESYNC_SECONDS))
