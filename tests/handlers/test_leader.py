"""Leader election against a Kubernetes API over HTTP: one at a time, takeover, release."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gilder.handlers.kube import Kube
from gilder.handlers.leader import Leader
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.process import wait_for

LEASE = "default/gilder"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with start_cluster(tmp_path) as found:
        yield found


@pytest.fixture
def kube(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Kube:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    return Kube()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_leads_until_it_is_gone_for_the_whole_duration(kube: Kube) -> None:
    clock = Clock()
    first = Leader(kube, LEASE, "first", duration=30, clock=clock)
    second = Leader(kube, LEASE, "second", duration=30, clock=clock)
    assert first.attempt()
    assert first.attempt()  # renewed
    assert not second.attempt()
    clock.now += 29
    assert not second.attempt()
    assert first.attempt()  # renewed in time: the wait of the second begins anew
    clock.now += 29
    assert not second.attempt()
    clock.now += 31
    assert second.attempt()
    assert not first.attempt()
    lease = kube.get_lease("default", "gilder")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] == 1


def test_a_released_lease_is_free_at_once(kube: Kube) -> None:
    first, second = (Leader(kube, LEASE, i) for i in ("first", "second"))
    assert first.attempt()
    assert not second.attempt()
    first.release()
    assert second.attempt()


def test_of_two_that_write_at_once_one_loses(kube: Kube) -> None:
    first = Leader(kube, LEASE, "first")
    assert first.attempt()
    stale = kube.get_lease("default", "gilder")
    assert stale is not None
    assert first.attempt()

    class Slow:
        """Answers reads with what was there a moment ago."""

        def get_lease(self, namespace: str, name: str) -> dict[str, object]:  # noqa: ARG002
            assert stale is not None
            spec = {**stale["spec"], "holderIdentity": ""}
            return {**stale, "spec": spec}

        put_lease = staticmethod(kube.put_lease)

    assert not Leader(Slow(), LEASE, "second").attempt()
    assert first.attempt()


def test_losing_the_lease_is_told_once(kube: Kube, cluster: Cluster) -> None:
    lost: list[str] = []
    leader = Leader(kube, LEASE, "first", duration=1.5)
    assert leader.attempt()
    leader.keep(lambda: lost.append("lost"))
    assert not wait_for(lambda: lost, 1.0)  # renewed all the while
    other = kube.get_lease("default", "gilder")
    assert other is not None
    other["spec"]["holderIdentity"] = "thief"
    while True:
        try:
            kube.put_lease("default", "gilder", other)
            break
        except Exception:  # noqa: BLE001 - the leader renewed in between
            other["metadata"] = (kube.get_lease("default", "gilder") or other)["metadata"]
    assert wait_for(lambda: lost, 5.0)
    leader.release()
    assert lost == ["lost"]
    assert cluster.url
