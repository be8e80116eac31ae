"""Leader election by a Lease, so that two replicas never act at once.

The semantics are those of client-go's leaderelection; Python's would import every generated model.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

log = structlog.get_logger("gilder")

DURATION = 30.0  # seconds that a lease holds without being renewed
# Seconds after which a holder that cannot renew stops acting: a call under way has the rest of
# DURATION to end before another replica begins.
DEADLINE = 20.0
RETRY = 3.0


class Leases(Protocol):
    """What Kube offers for Lease objects."""

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None: ...
    def put_lease(self, namespace: str, name: str, body: dict[str, Any]) -> None: ...


class Leader:
    """One candidate for a Lease `<namespace>/<name>`."""

    def __init__(
        self,
        leases: Leases,
        lease: str,
        identity: str,
        *,
        duration: float = DURATION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._namespace, _, self._name = lease.partition("/")
        self.identity = identity
        self._duration = duration
        self._deadline = duration * DEADLINE / DURATION
        self._retry = duration * RETRY / DURATION
        self._clock = clock
        self._seen: tuple[str, float] = ("", float("-inf"))  # holder with renewTime, when seen
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def retry(self) -> float:
        """Seconds between tries to acquire or renew."""
        return self._retry

    def attempt(self) -> bool:
        """Try once to take the lease, or to renew it."""
        return self._try()

    def keep(self, lost: Callable[[], None]) -> None:
        """Renew in the background; `lost` is called once when that failed for too long."""

        def renew() -> None:
            good = self._clock()
            while not self._stop.wait(self._retry):
                if self._try():
                    good = self._clock()
                elif self._clock() - good > self._deadline or self._taken():
                    log.error("the lease is lost")
                    lost()
                    return

        self._thread = threading.Thread(target=renew, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give the lease up, so that another replica need not wait for it to expire."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._duration)
        try:
            known = self._leases.get_lease(self._namespace, self._name)
            if known is not None and self._holder(known) == self.identity:
                known["spec"]["holderIdentity"] = ""
                self._leases.put_lease(self._namespace, self._name, known)
        except (ApiException, HTTPError) as error:
            log.warning("the lease was not released", error=str(error))

    def _try(self) -> bool:
        """Take or renew the lease; False when another holds it or the API does not answer."""
        try:
            known = self._leases.get_lease(self._namespace, self._name)
            if known is not None and not self._free(known):
                return False
            self._leases.put_lease(self._namespace, self._name, self._mine(known))
        except (ApiException, HTTPError) as error:
            log.warning("the lease was not renewed", error=str(error)[:200])
            return False
        return True

    def _free(self, known: dict[str, Any]) -> bool:
        holder = self._holder(known)
        if holder in ("", self.identity):
            return True
        # Measured by our own clock from when the last renewal was seen: clocks may differ.
        state = f"{holder} {known['spec'].get('renewTime')}"
        if state != self._seen[0]:
            self._seen = (state, self._clock())
        lasts = float(known["spec"].get("leaseDurationSeconds") or self._duration)
        return self._clock() - self._seen[1] > lasts

    def _taken(self) -> bool:
        """Whether somebody else is known to hold it."""
        try:
            known = self._leases.get_lease(self._namespace, self._name)
        except (ApiException, HTTPError):
            return False
        return known is not None and self._holder(known) not in ("", self.identity)

    @staticmethod
    def _holder(lease: dict[str, Any]) -> str:
        return str(lease.get("spec", {}).get("holderIdentity") or "")

    def _mine(self, known: dict[str, Any] | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = known or {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {},
        }
        spec = dict(body.get("spec") or {})
        if spec.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (known is not None)
        spec["holderIdentity"] = self.identity
        spec["leaseDurationSeconds"] = max(1, round(self._duration))
        spec["renewTime"] = now
        return {**body, "spec": spec}
