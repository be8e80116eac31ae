"""The shared read of what is under way: one listing for many, ages, and what is told of trouble."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from gilder.aws import builds, checks
from gilder.aws.sessions import Sessions
from gilder.aws.workview import RECENT, WorkViews
from gilder.core.actions import (
    BuildOrder,
    CancelBuild,
    DeleteRecipes,
    EndTest,
    LaunchTest,
    RunCheck,
    StartBuild,
)
from gilder.core.observed import Problem
from gilder.core.work import Scan, WorkNeeds
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"
ACCOUNT = "123456789012"


class Bench:
    """Builds and test instances in one account, and the calls that it took to see them."""

    def __init__(self, aws: SandboxAws, sessions: Sessions, image: str) -> None:
        self.aws, self.sessions, self.image = aws, sessions, image
        self.time = 1000.0
        self.work = WorkViews(sessions, "test", clock=lambda: self.time)
        for name in ("builder", "tester"):
            aws.client("iam").create_instance_profile(InstanceProfileName=name)

    def action(self, name: str, build: str) -> StartBuild:
        ami = {"name": f"{name} {{{{ imagebuilder:buildDate }}}}"}
        order = BuildOrder(
            name=name,
            version="1.0.0",
            parent=self.image,
            platform="Linux",
            components=(),
            infrastructure={"instanceProfileName": "builder"},
            distributions=({"region": HOME, "amiDistributionConfiguration": ami},),
        )
        tags = {"goldenimage.dev/image": "team/web", "goldenimage.dev/build": build}
        return StartBuild(region=HOME, build=build, tags=tags, order=order)

    def start(self, name: str, build: str) -> str:
        return builds.start(self.sessions.imagebuilder(HOME), self.action(name, build), ACCOUNT)

    def launch(self, token: str, owner: str = "team/web") -> str:
        tags = {
            "goldenimage.dev/cluster": "test",
            "goldenimage.dev/image": owner,
            "goldenimage.dev/test": self.image,
        }
        action = LaunchTest(
            region=HOME, image=self.image, token=token, type="t3.small", profile="tester",
            tags=tags, minutes=30,
        )  # fmt: skip
        return checks.launch(self.sessions.ec2(HOME), action)

    def check(self, instance: str, name: str = "c") -> RunCheck:
        return RunCheck(
            region=HOME, instance=instance, check=name, document="AWS-RunShellScript",
            parameters={"commands": ("true",)}, seconds=60,
        )  # fmt: skip

    def run(self, action: RunCheck) -> None:
        checks.run(self.sessions.ssm(HOME), action)

    def calls(self, act: Callable[[], Any]) -> dict[str, int]:
        self.aws.requests.reset()
        act()
        return {k.split(":")[1]: n for k, n in self.aws.requests.by_action().items()}


@pytest.fixture
def bench(aws: SandboxAws, sessions: Sessions, seeded: Seeded) -> Bench:
    return Bench(aws, sessions, seeded.base_image)


def _names(*names: str) -> WorkNeeds:
    return WorkNeeds(names=frozenset(names))


TESTS = WorkNeeds(tests=True)
CHECKS = WorkNeeds(tests=True, checks=True)


def test_many_readers_at_once_cost_one_listing(bench: Bench) -> None:
    arns = [bench.start(f"web-{n}", f"b{n}") for n in range(3)]
    bench.work.read(HOME, _names("web-0", "web-1", "web-2"), 0.0)
    bench.time += 10
    since = bench.work.now()

    def look() -> None:
        with ThreadPoolExecutor(16) as pool:
            asked = [_names(f"web-{n % 3}") for n in range(30)]
            seen = list(pool.map(lambda a: bench.work.read(HOME, a, since), asked))
        for n, work in enumerate(seen):
            assert [b.arn for b in work.builds] == [arns[n % 3]]
            assert work.build(f"b{n % 3}") is not None

    assert bench.calls(look) == {"ListImageBuildVersions": 1}
    assert bench.calls(look) == {}
    bench.time += 1
    since = bench.work.now()
    assert bench.calls(look) == {"ListImageBuildVersions": 1}


def test_a_new_name_is_added_to_what_is_known(bench: Bench) -> None:
    one, two = bench.start("web-1", "b1"), bench.start("web-2", "b2")
    bench.work.read(HOME, _names("web-1"), bench.time)
    calls = bench.calls(lambda: bench.work.read(HOME, _names("web-2"), bench.time))
    assert calls == {"ListImageBuildVersions": 1}
    both = _names("web-1", "web-2")
    assert bench.calls(lambda: bench.work.read(HOME, both, bench.time)) == {}
    assert {b.arn for b in bench.work.read(HOME, both, bench.time).builds} == {one, two}


def test_names_that_nobody_asks_for_are_forgotten(bench: Bench) -> None:
    names = [f"web-{n}" for n in range(15)]
    bench.work.read(HOME, _names(*names), bench.time)

    def one() -> None:
        bench.work.read(HOME, _names("web-3"), bench.time)

    bench.time += 60
    assert bench.calls(one) == {"ListImageBuildVersions": 2}
    bench.time += RECENT - 30
    assert bench.calls(one) == {"ListImageBuildVersions": 1}


def test_builds_are_read_by_arn(bench: Bench) -> None:
    bench.aws.settings.update(build_seconds=60.0)
    one, gone = bench.start("web", "b1"), f"arn:aws:imagebuilder:{HOME}:{ACCOUNT}:image/x/1.0.0/1"
    needs = WorkNeeds(builds=frozenset({one, gone}))

    def look() -> list[str]:
        work = bench.work.read(HOME, needs, since)
        assert work.problems == ()
        return [b.state for b in work.builds]

    since = bench.time
    assert bench.calls(look) == {"GetImage": 2}
    assert bench.calls(look) == {}
    assert look() == ["PENDING"]
    bench.aws.clock.advance(61)
    bench.time += 5
    since = bench.time
    assert look() == ["AVAILABLE"]


def test_a_failed_build_is_explained_once(bench: Bench) -> None:
    bench.aws.builds.fail_next("DistributeImage", "it broke", count=2)
    old, new = bench.start("web", "b1"), bench.start("web", "b2")
    asked = {
        "DescribeImages": 1,
        "ListWorkflowExecutions": 1,
        "ListWorkflowStepExecutions": 1,
    }

    def look(needs: WorkNeeds) -> dict[str, int]:
        bench.time += 5
        return bench.calls(lambda: bench.work.read(HOME, needs, bench.time))

    assert look(_names("web")) == {"ListImageBuildVersions": 1, **asked}
    assert look(_names("web")) == {"ListImageBuildVersions": 1}
    work = bench.work.read(HOME, _names("web"), bench.time)
    last, first = work.build("", new), work.build("", old)
    assert last is not None
    assert first is not None
    assert (last.step, len(last.leftovers)) == ("DistributeImage: it broke", 1)
    # Nobody waits for the build before it.
    assert (first.step, first.leftovers) == ("", ())
    by_arn = WorkNeeds(builds=frozenset({old, new}))
    assert look(by_arn) == {"GetImage": 1, **asked}
    assert look(by_arn) == {}
    seen = bench.work.read(HOME, by_arn, bench.time).build("", old)
    assert seen is not None
    assert len(seen.leftovers) == 1


def test_leftovers_that_cannot_be_read_are_told(bench: Bench) -> None:
    bench.aws.builds.fail_next("DistributeImage")
    bench.start("web", "b1")
    bench.start("other", "b2")
    fault = bench.aws.faults.deny("DescribeImages")
    work = bench.work.read(HOME, _names("web"), bench.time)
    assert not work.builds
    assert work.unread == {"builds"}
    assert [p.reason for p in work.problems] == ["AccessDenied"]
    assert len(bench.work.read(HOME, _names("other"), bench.time).builds) == 1
    fault.remove()
    assert bench.work.read(HOME, _names("web"), bench.time).builds[0].leftovers


def test_builds_that_cannot_be_read_are_told(bench: Bench) -> None:
    bench.start("web", "b1")
    fault = bench.aws.faults.deny("ListImageBuildVersions")
    needs = replace(_names("web"), tests=True)
    for _ in range(2):
        work = bench.work.read(HOME, needs, bench.time)
        assert not work.builds
        assert work.unread == {"builds"}
    assert work.problems[0].reason == "AccessDenied"
    assert work.problems[0].region == HOME
    assert fault.hits == 1  # also refusals are shared
    fault.remove()
    bench.time += 1
    assert bench.work.read(HOME, needs, bench.time).unread == frozenset()
    bench.aws.faults.deny("GetImage")
    work = bench.work.read(HOME, WorkNeeds(builds=frozenset({_arn(bench)})), bench.time)
    assert not work.builds
    assert work.unread == {"builds"}


def _arn(bench: Bench) -> str:
    return bench.work.read(HOME, _names("web"), bench.time).builds[0].arn


def test_test_instances_and_their_checks(bench: Bench) -> None:
    bench.aws.settings.update(ssm_online_seconds=30.0)
    assert bench.calls(lambda: bench.work.read(HOME, CHECKS, bench.time)) == {
        "DescribeInstances": 1
    }
    one, two = bench.launch("t1"), bench.launch("t2")
    bench.aws.clock.advance(31)
    three = bench.launch("t3")
    bench.run(bench.check(one, "first"))
    checks.end(bench.sessions.ec2(HOME), two)
    bench.time += 5

    def look() -> None:
        with ThreadPoolExecutor(16) as pool:
            seen = list(pool.map(lambda _: bench.work.read(HOME, CHECKS, bench.time), range(30)))
        for work in seen:
            assert {t.id: (t.alive, t.online) for t in work.tests} == {
                one: (True, True), two: (False, False), three: (True, False),
            }  # fmt: skip
            assert [(c.instance, c.comment) for c in work.checks] == [(one, "first")]

    assert bench.calls(look) == {
        "DescribeInstances": 1,
        "DescribeInstanceInformation": 1,
        "ListCommandInvocations": 1,
    }
    assert bench.calls(look) == {}
    bench.time += 5
    assert bench.calls(lambda: bench.work.read(HOME, TESTS, bench.time)) == {"DescribeInstances": 1}


def test_what_actions_make_stale(bench: Bench) -> None:
    arn = bench.start("web", "b1")
    instance = bench.launch("t1")
    needs = replace(CHECKS, names=frozenset({"web"}), builds=frozenset({arn}))

    def after(*actions: Any) -> dict[str, int]:
        for action in actions:
            bench.work.touched(action)
        return bench.calls(lambda: bench.work.read(HOME, needs, bench.time))

    after()
    assert after() == {}
    assert after(bench.action("web", "b2")) == {"ListImageBuildVersions": 1}
    assert after(CancelBuild(region=HOME, arn=arn)) == {"GetImage": 1, "ListImageBuildVersions": 1}
    assert after(EndTest(region=HOME, instance=instance)) == {"DescribeInstances": 1}
    assert after(bench.check(instance)) == {
        "DescribeInstanceInformation": 1,
        "ListCommandInvocations": 1,
    }
    assert after(DeleteRecipes(region=HOME, name="web")) == {}
    assert after(replace(bench.action("web", "b2"), region="us-east-1")) == {}


def test_a_new_instance_is_looked_at_in_full(bench: Bench) -> None:
    bench.launch("t1")
    bench.work.read(HOME, CHECKS, bench.time)
    two = bench.launch("t2")
    bench.work.touched(EndTest(region=HOME, instance="i-0"))
    work = bench.work.read(HOME, CHECKS, bench.time)
    assert {t.id for t in work.tests if t.online} >= {two}


def test_what_changes_during_a_reading_is_read_again(bench: Bench) -> None:
    bench.start("web", "b1")
    late: list[str] = []

    def interfere(_: Any) -> None:
        if not late:
            late.append(bench.start("web", "b2"))
            bench.work.touched(bench.action("web", "b2"))

    bench.aws.faults.after("ListImageBuildVersions", interfere, times=1)
    bench.work.read(HOME, _names("web"), bench.time)
    assert bench.work.read(HOME, _names("web"), bench.time).build("b2") is not None


def test_tests_that_cannot_be_read_are_told(bench: Bench) -> None:
    instance = bench.launch("t1")
    bench.run(bench.check(instance))
    cases = {
        "DescribeInstances": ({"tests", "checks"}, 0),
        # The instance is shown, but that it is not online must not be believed.
        "DescribeInstanceInformation": ({"tests", "checks"}, 1),
        "ListCommandInvocations": ({"checks"}, 1),
    }
    for action, (unread, shown) in cases.items():
        fault = bench.aws.faults.deny(action)
        bench.time += 1
        work = bench.work.read(HOME, CHECKS, bench.time)
        assert work.unread == unread
        assert (len(work.tests), len(work.checks)) == (shown, 0)
        assert [p.reason for p in work.problems] == ["AccessDenied"]
        fault.remove()
    bench.time += 1
    work = bench.work.read(HOME, CHECKS, bench.time)
    assert not work.unread
    assert (len(work.checks), work.tests[0].online) == (1, True)


def test_regions_fail_one_by_one(bench: Bench) -> None:
    bench.launch("t1")
    bench.aws.faults.region_down("us-east-1")
    assert bench.work.read("us-east-1", CHECKS, bench.time).unread == {"tests", "checks"}
    assert len(bench.work.read(HOME, CHECKS, bench.time).tests) == 1
    assert bench.work.read("eu-central-1", TESTS, bench.time).tests == ()


def test_scans_are_read_once(bench: Bench) -> None:
    bench.aws.findings.set(bench.image, {"HIGH": 2})
    first, later, gone = (bench.image, "t1"), (bench.image, "t2"), ("ami-00000000000000001", "t1")

    def look(*scans: tuple[str, str]) -> dict[str, Scan | Problem]:
        bench.time += 60
        return dict(bench.work.read(HOME, WorkNeeds(scans=frozenset(scans)), bench.time).scans)

    found = look(first, gone)
    assert found[bench.image] == Scan("t1", {"high": 2}, {"high": 2})
    lack = found[gone[0]]
    assert isinstance(lack, Problem)
    assert "InvalidAMIID.NotFound" in lack.message
    assert bench.calls(lambda: look(first)) == {}
    assert bench.calls(lambda: look(later)) == {"GetImageFindings": 1}
    assert bench.calls(lambda: look(first)) == {}


def test_strays(bench: Bench) -> None:
    bench.launch("t1", "team/web")
    stray, over = bench.launch("t2", "team/gone"), bench.launch("t3", "team/gone")
    checks.end(bench.sessions.ec2(HOME), over)
    found = bench.work.strays(HOME, lambda owner: owner == "team/web", bench.time)
    assert [t.id for t in found] == [stray]
    assert bench.work.strays(HOME, lambda _: True, bench.time) == []
    bench.aws.faults.deny("DescribeInstances")
    bench.time += 1
    assert bench.work.strays(HOME, lambda _: False, bench.time) == []
