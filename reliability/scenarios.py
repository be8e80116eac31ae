"""What the operator does for a living, as stories with an end that can be judged.

A story is prepared with the operator running, begun while it is stopped, and told on by whoever
runs it: undisturbed, killed, or with trouble in AWS and Kubernetes.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "system")]

import pytest  # noqa: E402
from buildstage import Works, built  # noqa: E402
from publishstage import EVERYWHERE, Published  # noqa: E402
from stage import DR, HOME, REPLICATED, A, B, Stage  # noqa: E402
from systemworld import Object, golden, share  # noqa: E402
from watch import Watch  # noqa: E402

from gilder.sandbox.kubernetes.client import AGENT  # noqa: E402
from gilder.sandbox.process import Forked, OperatorProcess  # noqa: E402
from gilder.sandbox.world import World  # noqa: E402

POLL = 0.2
SECONDS = 60.0  # until a story has come to its end, trouble over
BOTH = (HOME, DR)
GOES: Object = {"keep": 1, "gracePeriod": "0m", "checkOtherAccounts": False}

Version = int
Accounts = frozenset[str]


@dataclass(frozen=True)
class End:
    """What there is of ours in AWS in the end: Region to version to who may launch it."""

    images: dict[str, dict[Version, Accounts]] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """`done` asks Kubernetes alone, so that all counted calls to AWS are the operator's."""

    name: str
    act: Callable[[Stage], None]
    done: Callable[[Stage], bool]
    end: End
    before: Callable[[Stage], None] = lambda _: None
    also: Callable[[Stage], None] = lambda _: None  # asserts what is besides


def every(version: Version, *accounts: str, regions: tuple[str, ...] = BOTH) -> End:
    return End({r: {version: frozenset(accounts)} for r in regions})


# Steps


def golden_image(stage: Stage) -> None:
    stage.apply(golden(deletionPolicy="Delete", **REPLICATED))


def with_image(stage: Stage) -> None:
    golden_image(stage)
    stage.wait_ready("GoldenImage", "base")


def shared(stage: Stage) -> None:
    stage.apply(share(accounts=[A, B]))


def with_share(stage: Stage) -> None:
    with_image(stage)
    shared(stage)
    stage.wait_ready("ImageShare", "team")


def with_retention(stage: Stage) -> None:
    stage.apply(golden(retention=GOES, **REPLICATED), share(accounts=[A]))
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")


def without(stage: Stage, *objects: tuple[str, str]) -> None:
    for kind, name in objects:
        stage.delete(kind, name)


def is_ready(stage: Stage, *objects: tuple[str, str]) -> bool:
    return all(stage.ready(kind, name) for kind, name in objects)


def is_gone(stage: Stage, *objects: tuple[str, str]) -> bool:
    return all(stage.get(kind, name) == {} for kind, name in objects)


def is_retired(stage: Stage) -> bool:
    """Version 2 serves everywhere, and nothing of the first is left to go."""
    status = stage.status("GoldenImage", "base")
    there = {
        i["region"]
        for v in status.get("versions", [])
        if v["version"] == 1
        for i in v["images"]
        if i.get("state") not in ("missing", "deregistered")
    }
    latest = status.get("latest", {}).get("version")
    shown = stage.status("ImageShare", "team").get("images", [])
    return (
        latest == 2
        and not there
        and not status.get("retiring")
        and is_ready(stage, IMAGE, SHARE)
        and {i["region"] for i in shown} == set(BOTH)
    )


def is_published(stage: Stage) -> bool:
    told = stage.condition("GoldenImage", "base", "Published")
    return is_ready(stage, IMAGE) and told.get("status") == "True"


def assert_published(stage: Stage) -> None:
    published = Published(stage)
    images = published.images(1)
    assert published.both() == images
    assert published.mapped() == {**images, "version": "1"}
    assert published.templated() == images[HOME]


def assert_built_once(stage: Stage) -> None:
    works = Works(stage)
    works.assert_nothing_left()
    assert works.states() == {"AVAILABLE": 1}, works.states()


IMAGE, SHARE = ("GoldenImage", "base"), ("ImageShare", "team")

STORIES: dict[str, Story] = {
    s.name: s
    for s in (
        Story(
            "adopt",
            act=lambda s: s.apply(golden(source={"image": {"id": s.seeded.base_image}})),
            done=lambda s: is_ready(s, IMAGE),
            end=every(1, regions=(HOME,)),
        ),
        Story(
            "build",
            act=lambda s: s.apply(built("base")),
            done=lambda s: is_ready(s, IMAGE),
            end=every(1, regions=(HOME,)),
            also=assert_built_once,
        ),
        Story(
            "copy",
            act=golden_image,
            done=lambda s: is_ready(s, IMAGE),
            end=every(1),
        ),
        Story(
            "publish",
            before=lambda s: Published(s).make_template() and None,
            act=lambda s: s.apply(golden(publish=EVERYWHERE, **REPLICATED)),
            done=is_published,
            end=every(1),
            also=assert_published,
        ),
        Story(
            "share",
            before=with_image,
            act=shared,
            done=lambda s: is_ready(s, IMAGE, SHARE),
            end=every(1, A, B),
        ),
        Story(
            "unshare",
            before=with_share,
            act=lambda s: without(s, SHARE),
            done=lambda s: is_gone(s, SHARE) and is_ready(s, IMAGE),
            end=every(1),
        ),
        Story(
            "retire",
            before=with_retention,
            act=lambda s: s.publish("base-2") and None,
            done=is_retired,
            end=every(2, A),
        ),
        Story(
            "delete",
            before=with_share,
            act=lambda s: without(s, IMAGE, SHARE),
            done=lambda s: is_gone(s, IMAGE, SHARE),
            end=End(),
        ),
    )
}


class Violation(AssertionError):  # noqa: N818 - it is what is counted
    """Something that must never be was seen."""


# How a violation, or a wait of the tests' own words that took too long, is told of.
WRONG = (AssertionError, pytest.fail.Exception)


def judge(stage: Stage, story: Story, exposed: list[str]) -> None:
    """Nothing is doubled, leaked, lost or exposed. Raises Violation."""
    try:
        assert exposed == [], f"launchable without the key, or by strangers: {exposed}"
        for region in (*BOTH, "eu-central-1"):
            _judge_region(stage, region, story.end.images.get(region, {}))
        story.also(stage)
        assert not (odd := exceptions(stage)), f"an exception was the answer: {odd[0]}"
    except AssertionError as error:
        raise Violation(str(error)) from error


def exceptions(stage: Stage) -> list[str]:
    """Reconciles that ended with an exception, but for those of the Kubernetes API's errors."""
    lines = stage.world.operator.log.read_text().splitlines()
    known = ("ApiException", "urllib3.exceptions", "MaxRetryError")
    return [x for x in lines if "reconcile failed" in x and not any(k in x for k in known)]


def _judge_region(stage: Stage, region: str, wanted: dict[Version, Accounts]) -> None:
    owned = stage.owned(region)
    found: dict[Version, list[str]] = {}
    parts: set[str] = set()
    for image in owned:
        tags = {t["Key"].rpartition("/")[2]: t["Value"] for t in image["Tags"]}
        found.setdefault(int(tags["version"]), []).append(image["ImageId"])
        parts |= {d["Ebs"]["SnapshotId"] for d in image["BlockDeviceMappings"] if "Ebs" in d}
    assert set(found) == set(wanted), f"versions in {region}: {found}"
    for version, images in found.items():
        assert len(images) == 1, f"version {version} twice in {region}: {images}"
        users = stage.users(images[0], region)
        assert users == wanted[version], f"version {version} in {region}: {users}"
    loose = stage.snapshots(region) - parts
    assert not loose, f"snapshots of no AMI in {region}: {loose}"
    accounts = sorted({a for users in wanted.values() for a in users})
    encrypted = any(
        d.get("Ebs", {}).get("Encrypted") for i in owned for d in i["BlockDeviceMappings"]
    )
    if region in stage.seeded.keys:
        grants = stage.grantees(region)
        assert grants == (accounts if encrypted else []), f"grants in {region}: {grants}"


def prepare(stage: Stage, story: Story) -> Watch:
    """Up to where the operator is to be started; from now on all is watched."""
    # What the story itself asks of both is neither disturbed nor counted.
    stage.session.headers["User-Agent"] = AGENT
    stage.aws.hands = True
    stage.start(POLL_SECONDS=str(POLL))
    story.before(stage)
    stage.world.operator.stop()
    story.act(stage)
    return Watch(stage, frozenset({A, B}))


@contextmanager
def opened(story: Story) -> Iterator[tuple[Stage, Watch]]:
    """A world of its own in which a story is prepared, and who watches it."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), emulate=True) as world:
        stage = Stage(world)
        yield stage, prepare(stage, story)


def at_rest(stage: Stage) -> None:
    """All is as it is to be: another look changes nothing. Raises Violation."""
    stage.aws.requests.reset()
    for kind, name in (IMAGE, SHARE):
        if stage.get(kind, name):
            stage.look(kind, name, "at-rest")
    if changes := stage.changes():
        raise Violation(f"it changes AWS although nothing is left to do: {changes}")


def write_down(path: Path, runs: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Put results into a file, in the place of those of the same story and so on."""
    known = json.loads(path.read_text()) if path.exists() else []
    found = {tuple(r[k] for k in keys): r for r in (*known, *runs)}
    path.write_text(json.dumps(list(found.values()), indent=1) + "\n")


def fork_operators() -> None:
    """From a process that has imported what they need."""
    OperatorProcess.start_as = Forked
