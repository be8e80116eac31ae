"""Runs what the operator does with trouble in AWS and in Kubernetes.

    python reliability/faults.py                   # every story with every trouble and denial
    python reliability/faults.py throttling copy   # named troubles and stories
    python reliability/faults.py --list

Trouble begins as the operator starts, or in the midst of its work, and lasts for some seconds.
Nothing wrong may be seen meanwhile, and once it is over the story must come to its end as ever.
For `denied` each action that a story needs is denied by itself until the operator tells of it, or
the story ends without it.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

from scenarios import (
    HOME,
    IMAGE,
    SECONDS,
    SHARE,
    STORIES,
    WRONG,
    Story,
    Violation,
    at_rest,
    fork_operators,
    judge,
    opened,
    write_down,
)
from stage import DR, Stage
from systemworld import Object

from gilder.api.crd import crds
from gilder.sandbox.kubernetes.faults import Faults
from gilder.sandbox.kubernetes.manifests import install_crds
from gilder.sandbox.kubernetes.server import Server
from gilder.sandbox.process import wait_for

LASTS = 6.0  # seconds of trouble, at least
CHANGES = "(Create|Copy|Register|Modify|Revoke|Delete|Deregister|Disable|Put).*"
NOTHING = (
    b"<html><body>502 Bad Gateway</body></html>",
    b"",
    b"{",
    b"<?xml version='1.0'?><DescribeImagesResponse><imagesSet>",
    b'{"unexpected": [1, 2]}',
)

Bitten = Callable[[], int]  # how often the trouble struck


@contextmanager
def throttling(stage: Stage) -> Iterator[Bitten]:
    """Three of ten calls."""
    fault = stage.aws.faults.throttle(rate=0.3)
    yield lambda: fault.hits


@contextmanager
def errors(stage: Stage) -> Iterator[Bitten]:
    """HTTP 500 and 503 for a quarter of the calls."""
    found = [
        stage.aws.faults.fail(".*", "InternalError", times=None, status=500, rate=0.15),
        stage.aws.faults.fail(".*", "Unavailable", times=None, status=503, rate=0.1),
    ]
    yield lambda: sum(f.hits for f in found)


@contextmanager
def lost_answers(stage: Stage) -> Iterator[Bitten]:
    """Three of ten changes take effect, and the connection breaks before the answer."""
    fault = stage.aws.faults.timeout_after_effect(CHANGES, times=None, rate=0.3)
    yield lambda: fault.hits


@contextmanager
def nonsense(stage: Stage) -> Iterator[Bitten]:
    """Calls take effect, and a fifth of the answers is HTML, empty, cut off or of another shape."""
    found = [stage.aws.faults.garble(body, rate=0.2 / len(NOTHING)) for body in NOTHING]
    yield lambda: sum(f.hits for f in found)


@contextmanager
def stale_reads(stage: Stage) -> Iterator[Bitten]:
    """Reads show what was there up to two seconds before."""
    stale = stage.aws.faults.stale
    stale.lag = 2.0
    yield lambda: stale.served


@contextmanager
def expired_credentials(stage: Stage) -> Iterator[Bitten]:
    fault = stage.aws.faults.fail(
        ".*", "ExpiredToken", "The security token included in the request is expired", None,
        status=403,
    )  # fmt: skip
    yield lambda: fault.hits


@contextmanager
def region_gone(stage: Stage) -> Iterator[Bitten]:
    fault = stage.aws.faults.region_down(DR)
    yield lambda: fault.hits


@contextmanager
def home_gone(stage: Stage) -> Iterator[Bitten]:
    fault = stage.aws.faults.region_down(HOME)
    yield lambda: fault.hits


@contextmanager
def clock_ahead(stage: Stage) -> Iterator[Bitten]:
    """AWS is ten minutes ahead of the operator's clock, and stays so."""
    stage.aws.clock.advance(600.0)
    yield lambda: 1


@contextmanager
def signature_expired(stage: Stage) -> Iterator[Bitten]:
    """AWS refuses calls, since the clocks are too far apart."""
    fault = stage.aws.faults.fail(
        ".*", "RequestExpired", "Request has expired.", None, status=400
    )  # fmt: skip
    yield lambda: fault.hits


def _midst(stage: Stage) -> None:
    """Wait until the operator is at work."""
    if not wait_for(lambda: sum(stage.aws.requests.snapshot().values()) > 0, 30.0, 0.02):
        raise Violation("the operator never began")


def _server(stage: Stage) -> Server:
    server = stage.world.cluster.server
    assert server is not None, "faults in Kubernetes need the emulated API"
    return server


@contextmanager
def _again(every: float, action: Callable[[], int | None]) -> Iterator[Bitten]:
    """Do something over and over; it says how many it struck."""
    over, done = threading.Event(), 0

    def run() -> None:
        nonlocal done
        while not over.wait(every):
            done += action() or 0

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: done
    finally:
        over.set()
        thread.join()


@contextmanager
def watches_drop(stage: Stage) -> Iterator[Bitten]:
    with _again(0.3, _server(stage).faults.drop_watches) as bitten:
        yield bitten


@contextmanager
def history_lost(stage: Stage) -> Iterator[Bitten]:
    """Watches end with 410, and their versions are gone."""
    with _again(0.5, _server(stage).faults.expire_watches) as bitten:
        yield bitten


@contextmanager
def _refused(stage: Stage, arm: Callable[[Faults], None]) -> Iterator[Bitten]:
    """Ten times a second the next request that `arm` means is refused."""
    faults = _server(stage).faults
    with _again(0.1, lambda: arm(faults) if not faults.pending else None):
        yield lambda: faults.struck
    faults.clear()


@contextmanager
def conflicts(stage: Stage) -> Iterator[Bitten]:
    """Writes are refused with 409."""
    with _refused(stage, Faults.conflict) as bitten:
        yield bitten


@contextmanager
def api_errors(stage: Stage) -> Iterator[Bitten]:
    """Requests are answered with 500."""
    with _refused(stage, Faults.fail) as bitten:
        yield bitten


@contextmanager
def api_down(stage: Stage) -> Iterator[Bitten]:
    """Connections to the Kubernetes API are refused."""
    server = _server(stage)
    _midst(stage)
    server.faults.pause()
    yield lambda: 1
    server.faults.resume()


@contextmanager
def crds_gone(stage: Stage) -> Iterator[Bitten]:
    """Someone deletes the CRDs, and with them all objects; all are applied again later."""
    _midst(stage)
    found = [stage.get(kind, name) for kind, name in (IMAGE, SHARE)]
    kept = [_manifest(o) for o in found if o and not o["metadata"].get("deletionTimestamp")]
    root = f"{stage.world.cluster.url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    urls = [f"{root}/{doc['metadata']['name']}" for doc in crds()]
    for url in urls:
        stage.session.delete(url, timeout=10).raise_for_status()
    yield lambda: 1

    def gone() -> list[str]:
        return [u for u in urls if stage.session.get(u, timeout=10).status_code != 404]

    with _again(0.3, lambda: _kept_running(stage)):
        if not wait_for(lambda: not gone(), SECONDS, 0.1):
            raise Violation(f"objects hold up the end of {gone()}\n{stage.world.operator.tail()}")
    install_crds(stage.world.cluster, crds())
    stage.apply(*kept)


def _kept_running(stage: Stage) -> None:
    """As a kubelet does."""
    if not stage.world.operator.running:
        stage.world.operator.start()


def _manifest(found: Object) -> Object:
    """An object as its owner would apply it again."""
    meta = {k: found["metadata"][k] for k in ("name", "namespace")}
    return {k: found[k] for k in ("apiVersion", "kind", "spec")} | {"metadata": meta}


TROUBLES = {
    t.__name__: t
    for t in (
        throttling, errors, lost_answers, nonsense, stale_reads, expired_credentials, region_gone,
        home_gone, clock_ahead, signature_expired, watches_drop, history_lost, conflicts,
        api_errors, api_down, crds_gone,
    )
}  # fmt: skip
DENIED = "denied"


@dataclass
class Run:
    """One story with one trouble."""

    story: str
    trouble: str
    struck: int = 0  # calls, or times
    told: int = 0  # denials that the operator told of
    seconds: float = 0.0  # of trouble
    violations: list[str] = field(default_factory=list)


def endure(name: str, trouble: str, lasts: float = LASTS) -> Run:
    """A story with trouble for some time, and its end."""
    run = Run(name, trouble, seconds=lasts)
    story = STORIES[name]
    try:
        with opened(story) as (stage, watch):
            stage.aws.requests.reset()
            stage.world.operator.start()
            with TROUBLES[trouble](stage) as bitten:
                wait_for(lambda: bitten() > 0, 30.0)
                time.sleep(lasts)
                run.struck = bitten()
            stage.aws.faults.clear()
            watch.arm()
            _kept_running(stage)
            _ends(stage, story, trouble)
            judge(stage, story, watch.wrong)
            at_rest(stage)
    except WRONG as error:
        run.violations.append(str(error))
    return run


def deny(name: str, actions: Sequence[str] = ()) -> Run:
    """A story with each action that it needs denied in turn."""
    run = Run(name, DENIED)
    story = STORIES[name]
    for action in actions or needed(story):
        try:
            with opened(story) as (stage, watch):
                fault = stage.aws.faults.deny(action)
                stage.world.operator.start()
                told = wait_for(lambda: tells(stage, action) or story.done(stage), 20.0, 0.1)  # noqa: B023
                if not told:
                    raise Violation(f"nobody is told that {action} is denied")
                run.told += tells(stage, action)
                run.struck += fault.hits
                stage.aws.faults.clear()
                watch.arm()
                _ends(stage, story, f"{action} denied")
                judge(stage, story, watch.wrong)
                at_rest(stage)
        except WRONG as error:
            run.violations.append(f"{action} denied: {error}")
    return run


def needed(story: Story) -> list[str]:
    """The actions that a story calls."""
    with opened(story) as (stage, _):
        stage.aws.requests.reset()
        stage.world.operator.start()
        if not wait_for(lambda: story.done(stage), SECONDS, 0.02):
            raise Violation("it never came to its end, undisturbed")
        return sorted({f"{k.service}:{k.action}" for k in stage.aws.requests.snapshot()})


def tells(stage: Stage, action: str) -> bool:
    """Whether a condition names an action, or what status says of AMIs that are to go."""
    texts = [
        str(c.get("message", ""))
        for kind, name in (IMAGE, SHARE)
        for c in stage.status(kind, name).get("conditions", [])
        if c["status"] != "True" or c["type"] in ("Stalled", "Reconciling")
    ]
    going = stage.status(*IMAGE).get("retiring", [])
    texts += [str(one.get("heldBy", "")) for one in going]
    return any(action in text or action.partition(":")[2] in text for text in texts)


def _ends(stage: Stage, story: Story, trouble: str) -> None:
    """What was refused for good waits for the next sweep, or for somebody who asks."""
    for kind, name in (IMAGE, SHARE):
        if stage.get(kind, name):
            stage.annotate(kind, name, **{"goldenimage.dev__reconcile-now": "mended"})
    if not wait_for(lambda: story.done(stage), SECONDS, 0.1):
        shown = [stage.status(*o).get("conditions") for o in (IMAGE, SHARE)]
        raise Violation(
            f"{trouble} is over, and it never ends: {shown}\n{stage.world.operator.tail()}"
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("names", nargs="*", help="troubles and stories; without any, all")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--seconds", type=float, default=LASTS, help="of trouble")
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--json", type=Path, help="where the figures go")
    asked = arguments.parse_args()
    known = [*TROUBLES, DENIED]
    if asked.list:
        print("troubles:", ", ".join(known))
        print("stories:", ", ".join(STORIES))
        return 0
    unknown = set(asked.names) - {*known, *STORIES}
    if unknown:
        arguments.error(f"no such trouble or story: {', '.join(sorted(unknown))}")
    troubles = [t for t in known if t in asked.names] or known
    stories = [s for s in STORIES if s in asked.names] or list(STORIES)
    found: list[Run] = []
    with ProcessPoolExecutor(
        asked.processes, get_context("spawn"), initializer=fork_operators
    ) as pool:
        tried = [
            pool.submit(deny, story)
            if trouble == DENIED
            else pool.submit(endure, story, trouble, asked.seconds)
            for trouble in troubles
            for story in stories
        ]
        for each in tried:
            one = each.result()
            found.append(one)
            print(
                f"{one.trouble:20} {one.story:8} struck {one.struck:4}, "
                f"{len(one.violations)} violations",
                flush=True,
            )
            for text in one.violations:
                print(f"  {text}", flush=True)
    violations = sum(len(r.violations) for r in found)
    print(f"{sum(r.struck for r in found)} faults in {len(found)} runs, {violations} violations")
    if asked.json:
        write_down(asked.json, [asdict(r) for r in found], ("trouble", "story"))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
