"""Gates of one version: what is checked, and what is thought of it; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from typing import Literal

from gilder import checks
from gilder.api.base import TAG_LIMIT
from gilder.api.gates import Gates, InspectorGate, SsmGate
from gilder.api.goldenimage import GateResult
from gilder.api.names import TAG_CLUSTER, TAG_GATES, TAG_IMAGE, TAG_TEST
from gilder.core.actions import EndTest, LaunchTest, RunCheck, TagResources
from gilder.core.digest import digest
from gilder.core.observed import Image, Problem
from gilder.core.plan import Draft
from gilder.core.times import passed, rfc3339
from gilder.core.wanted import Judged, Wanted
from gilder.core.work import Scan, SeenCheck, SeenTest, Work

POLL = 15.0  # seconds between looks at a test instance
SOON = 0.5  # seconds
LAUNCHES = 2  # of test instances for one version, since the first may be a victim of chance
COMMENT_LIMIT = 100  # SendCommand, parameter Comment, in the Systems Manager API reference
MESSAGE = 400  # characters of a result

PENDING: Literal["Pending"] = "Pending"
PASSED: Literal["Passed"] = "Passed"
FAILED: Literal["Failed"] = "Failed"
State = Literal["", "Pending", "Passed", "Failed"]
INSPECTOR, MANUAL = "inspector", "manual"


# It waits until cloud-init is done, so that the others meet neither a half-booted instance nor the
# lock of its package manager.
FIRST = "ssm/CloudInitHealthy"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates say of a version; an empty state: there are none."""

    state: State = ""
    results: tuple[GateResult, ...] = ()
    since: str = ""
    gates: str = ""  # digest of the gates that were asked

    @property
    def open(self) -> bool:
        return self.state in ("", PASSED)

    @property
    def awaits_approval(self) -> bool:
        """Nothing is left but a person's word."""
        left = [r for r in self.results if r.state != PASSED]
        return self.state == PENDING and [r.name for r in left] == [MANUAL]


NO_GATES = Verdict()


def shut(image: Image) -> bool:
    """Whether an AMI's tag says that its version is not released."""
    tag = image.tags.get(TAG_GATES, "")
    return tag == "pending" or tag.startswith("failed")


def birth_tag(gates: Gates | None) -> dict[str, str]:
    """What a home AMI is born with, so that it is never taken for one that has passed."""
    return {TAG_GATES: "pending"} if gates is not None and gates.any else {}


def plan_gates(
    want: Wanted, image: Image, version: int, work: Work, now: datetime, draft: Draft,
    spare: frozenset[str] = frozenset(),
) -> Verdict:  # fmt: skip
    """The next steps of the gates of a version, whose available home AMI is `image`.

    Test instances of other AMIs are ended, but for those in `spare`.
    """
    gates = want.spec.gates
    tag = image.tags.get(TAG_GATES, "")
    known = want.memory.tested.get(version)
    if gates is None or not gates.any:
        if shut(image):
            _mark(image, "waived", draft)
        end_tests(want, work, draft, spare)
        return NO_GATES
    asked = digest(gates.model_dump(mode="json"), length=8)
    failed_by = f"failed/{asked}"
    released = tag in ("", "waived") and version <= want.memory.latest
    if tag == "passed" or released:
        end_tests(want, work, draft, spare)
        if released:  # before there were gates; it stays so, whatever becomes of status
            _mark(image, "passed", draft)
        told = known or Judged(PASSED)
        return Verdict(PASSED, told.results, told.since, told.gates)
    if tag == failed_by:
        end_tests(want, work, draft, spare)
        verdict = Verdict(FAILED, gates=asked)
        if known is not None and known.gates == asked:
            verdict = Verdict(FAILED, known.results, known.since, asked)
        _tell(verdict, image, version, draft)
        return verdict
    anew = tag != "pending"  # made before there were gates, or failed other ones
    if anew:
        _mark(image, "pending", draft)
    fresh = known is not None and known.state == PENDING and known.gates == asked
    if anew or known is None or not fresh or not isfinite(passed(known.since, now)):
        # Since when is recorded first: an instance is launched once for that time.
        draft.wake(SOON)
        return Verdict(PENDING, (), rfc3339(now), asked)
    if gates.ssm is None:
        end_tests(want, work, draft, spare)
    verdict = _judge(want, gates, image, version, known, work, failed_by, now, draft)
    return replace(verdict, gates=asked)


def _judge(
    want: Wanted, gates: Gates, image: Image, version: int, known: Judged, work: Work,
    failed_by: str, now: datetime, draft: Draft,
) -> Verdict:  # fmt: skip
    done = known.done
    results: list[GateResult] = []
    if gates.inspector is not None:
        results.append(
            done.get(INSPECTOR) or _inspect(gates.inspector, image, known.since, work, now, draft)
        )
    if gates.ssm is not None:
        results += _ssm(want, gates.ssm, image, known, work, now, draft)
    if gates.manual and all(r.state == PASSED for r in results):
        results.append(_approval(want, version))
    elif gates.manual:
        results.append(GateResult(name=MANUAL, state=PENDING, message="after the other gates"))
    # A verdict is passed on what status has recorded, so that no crash loses why.
    told = [r for r in results if r.name == MANUAL or r.name in done]
    if any(r.state == FAILED for r in told):
        end_tests(want, work, draft)
        _mark(image, failed_by, draft)
        verdict = Verdict(FAILED, tuple(results), known.since)
        _tell(verdict, image, version, draft)
        return verdict
    if all(r.state == PASSED for r in told) and len(told) == len(results):
        end_tests(want, work, draft)
        _mark(image, "passed", draft)
        # It counts once it is seen on the AMI, which is the next look.
        return Verdict(PENDING, tuple(results), known.since)
    if any(r.state in (PASSED, FAILED) and r.name not in done for r in results):
        draft.wake(SOON)
    return Verdict(PENDING, tuple(results), known.since)


def _mark(image: Image, value: str, draft: Draft) -> None:
    ids = (image.id, *image.snapshots)
    draft.do(TagResources(region=image.region, resources=ids, tags={TAG_GATES: value}))


def _tell(verdict: Verdict, image: Image, version: int, draft: Draft) -> None:
    failed = [r for r in verdict.results if r.state == FAILED]
    said = (
        "; ".join(f"{r.name}: {r.message}{f' ({r.log})' if r.log else ''}" for r in failed)
        or "see the Events of that time"
    )
    draft.stop(
        "GateFailed",
        f"spec.gates: version {version} ({image.id}) is kept aside: {said}. Mend what it is built "
        "from and build anew, or change spec.gates, which are then asked again",
        region=image.region,
    )


# Inspector


def _inspect(
    gate: InspectorGate, image: Image, since: str, work: Work, now: datetime, draft: Draft
) -> GateResult:
    waited = passed(since, now) / 60
    left = gate.timeout_minutes - waited
    if not image.scanned_at or passed(image.scanned_at, now) > gate.max_age_hours * 3600:
        said = (
            f"the last scan, of {image.scanned_at}, is older than {gate.max_age_hours} hours"
            if image.scanned_at
            else "Inspector has not scanned the AMI"
        )
        if left <= 0:
            fix = f"{said}, after {gate.timeout_minutes} minutes. Enable EC2 scanning for AMIs"
            return GateResult(name=INSPECTOR, state=FAILED, message=fix)
        draft.wait(f"a scan of {image.id} by Inspector", POLL)
        return GateResult(name=INSPECTOR, state=PENDING, message=said)
    scan = work.scans.get(image.id)
    if isinstance(scan, Problem):
        draft.note(scan)
        return GateResult(name=INSPECTOR, state=PENDING, message=scan.message[:MESSAGE])
    if scan is None:
        draft.wait(f"the findings in {image.id}", 1.0)
        return GateResult(name=INSPECTOR, state="Running", message="counting the findings")
    return _count(gate, scan, image)


def _count(gate: InspectorGate, scan: Scan, image: Image) -> GateResult:
    counts: Mapping[str, int] = scan.fixable if gate.only_fixable else scan.all
    which = "findings with a fix" if gate.only_fixable else "findings"
    limits = gate.max_findings.limits()
    over = [
        f"{counts.get(s, 0)} {s} {which} (at most {n})"
        for s, n in limits.items()
        if counts.get(s, 0) > n
    ]
    found = ", ".join(f"{counts.get(s, 0)} {s}" for s in limits)
    log = f"Inspector findings of {image.id}, scanned at {scan.scanned_at}"
    if over:
        return GateResult(name=INSPECTOR, state=FAILED, message=", ".join(over), log=log)
    return GateResult(name=INSPECTOR, state=PASSED, message=f"{which}: {found}", log=log)


# Run Command on a test instance


@dataclass(frozen=True, slots=True)
class _Order:
    """One check as it is sent; `problem` where it cannot be."""

    name: str
    document: str = ""
    version: str = ""
    parameters: Mapping[str, tuple[str, ...]] | None = None
    problem: str = ""

    @property
    def comment(self) -> str:
        return comment(self.name)


def comment(check: str) -> str:
    """By which the command of a check is found again."""
    text = f"gilder {check}"
    if len(text) <= COMMENT_LIMIT:
        return text
    return f"{text[: COMMENT_LIMIT - 13]} {digest(text, length=12)}"


def _orders(gate: SsmGate, platform: str) -> list[_Order]:
    orders = []
    for check in gate.checks:
        name = f"ssm/{check}"
        windows = platform == "windows"
        try:
            script = checks.script(check, "windows" if windows else "linux")
        except KeyError as error:
            orders.append(_Order(name, problem=str(error.args[0])))
            continue
        document = "AWS-RunPowerShellScript" if windows else "AWS-RunShellScript"
        orders.append(_Order(name, document, parameters={"commands": script}))
    for number, given in enumerate(gate.documents, 1):
        same = [d.name for d in gate.documents].count(given.name) > 1
        name = f"ssm/doc/{given.name}" + (f"#{number}" if same else "")
        orders.append(_Order(name, given.name, given.version or "", given.parameters))
    return orders


def _ssm(
    want: Wanted, gate: SsmGate, image: Image, known: Judged, work: Work, now: datetime,
    draft: Draft,
) -> list[GateResult]:  # fmt: skip
    orders = _orders(gate, image.platform)
    results: dict[str, GateResult] = {}
    told = {r.name: r.message for r in known.results if r.state == "Running"}
    done, since = known.done, known.since
    for order in orders:
        if order.name in done:
            results[order.name] = done[order.name]
        elif order.problem:
            results[order.name] = GateResult(name=order.name, state=FAILED, message=order.problem)
    left = [o for o in orders if o.name not in results]
    if not left:
        end_tests(want, work, draft)
        return [results[o.name] for o in orders]

    def all_left(state: Literal["Pending", "Running", "Failed"], message: str) -> list[GateResult]:
        for order in left:
            results[order.name] = GateResult(name=order.name, state=state, message=message)
        return [results[o.name] for o in orders]

    if "tests" in work.unread:
        draft.wait("test instances to be seen", POLL)
        return all_left(PENDING, "test instances could not be read")
    end_tests(want, work, draft, frozenset({image.id}))
    here = [t for t in work.tests if t.owner == want.key and t.image == image.id]
    alive = sorted((t for t in here if t.alive), key=lambda t: (t.launched, t.id))
    for extra in alive[1:]:
        draft.do(EndTest(region=image.region, instance=extra.id))
    if not alive:
        ended = [t for t in here if passed(since, now) >= passed(t.launched, now)]
        return all_left(*_launch(want, gate, image, ended, since, now, draft))
    test = alive[0]
    late = passed(test.launched, now) > gate.timeout_minutes * 60
    if not test.online:
        if late:
            return all_left(
                FAILED,
                f"the SSM agent of test instance {test.id} was not online within "
                f"{gate.timeout_minutes} minutes. See that the image has the agent, that "
                f"spec.gates.ssm.instance.profile ({gate.instance.profile}) allows it, and that "
                "its subnet reaches Systems Manager",
            )
        draft.wait(f"the SSM agent of test instance {test.id}", POLL)
        return all_left(PENDING, f"test instance {test.id} starts")
    if "checks" in work.unread:
        draft.wait("commands to be seen", POLL)
        return all_left("Running", "commands could not be read")
    sent = {c.comment: c for c in work.checks if c.instance == test.id}
    booting = [o for o in left if o.name == FIRST and not _over(sent.get(o.comment))]
    for order in left:
        if booting and order.name != FIRST:
            results[order.name] = GateResult(name=order.name, state=PENDING, message="after boot")
            continue
        found = sent.get(order.comment)
        if found is None and not late and told.get(order.name) == _sent_to(test):
            # AWS took it, and its listing lags behind.
            results[order.name] = GateResult(
                name=order.name, state="Running", message=_sent_to(test)
            )
            continue
        results[order.name] = _check(order, found, test, gate, image.region, late, draft)
    if any(results[o.name].state in (PENDING, "Running") for o in left):
        draft.wait(f"checks on test instance {test.id}", POLL)
    return [results[o.name] for o in orders]


def _launch(
    want: Wanted,
    gate: SsmGate,
    image: Image,
    ended: Sequence[SeenTest],
    since: str,
    now: datetime,
    draft: Draft,
) -> tuple[Literal["Pending", "Failed"], str]:
    """Launch a test instance, unless too many have ended already; what becomes of the checks."""
    if len(ended) >= LAUNCHES:
        why = ended[-1].reason or "no reason given"
        return FAILED, (
            f"{len(ended)} test instances ended before all checks had, the last "
            f"({ended[-1].id}) by: {why}"
        )
    spec = want.spec
    # EC2 remembers a token longer than it shows the instance, so later it must be another one.
    hours = int(passed(since, now) // 3600)
    draft.do(
        LaunchTest(
            region=image.region,
            image=image.id,
            token=digest(
                "test", want.cluster, want.key, image.id, gate.model_dump(mode="json"),
                spec.tags, since, sorted(t.id for t in ended), hours, length=48,
            ),
            type=gate.instance.type,
            profile=gate.instance.profile,
            subnet=gate.instance.subnet_id or "",
            groups=gate.instance.security_group_ids,
            tags={
                **spec.tags,
                "Name": f"gilder test of {want.key}"[:TAG_LIMIT],
                TAG_CLUSTER: want.cluster,
                TAG_IMAGE: want.key,
                TAG_TEST: image.id,
            },
            minutes=gate.timeout_minutes + 15,
            platform=image.platform,
        )
    )  # fmt: skip
    draft.wait(f"a test instance of {image.id}", POLL)
    return PENDING, "a test instance is launched"


def _check(
    order: _Order, sent: SeenCheck | None, test: SeenTest, gate: SsmGate, region: str, late: bool,
    draft: Draft,
) -> GateResult:  # fmt: skip
    name = order.name
    if sent is not None and sent.over:
        log = f"Run Command {sent.command} on {test.id}"
        said = _last_line(sent.output)
        if sent.status == "Success":
            return GateResult(name=name, state=PASSED, message=said, log=log)
        how = sent.details or sent.status
        told = f"{how}, exit code {sent.code}: {said}" if said else f"{how}, exit code {sent.code}"
        return GateResult(name=name, state=FAILED, message=told[:MESSAGE], log=log)
    if late:
        said = f"not done within {gate.timeout_minutes} minutes"
        return GateResult(name=name, state=FAILED, message=said)
    if sent is None:
        draft.do(
            RunCheck(
                region=region,
                instance=test.id,
                check=order.comment,
                document=order.document,
                version=order.version,
                parameters=order.parameters or {},
                seconds=gate.timeout_minutes * 60,
            )
        )
        return GateResult(name=name, state=PENDING, message="to be sent")
    return GateResult(name=name, state="Running", message=f"{sent.status} on {test.id}")


def _sent_to(test: SeenTest) -> str:
    return f"sent to {test.id}"


def _over(sent: SeenCheck | None) -> bool:
    return sent is not None and sent.over


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:MESSAGE] if lines else ""


def end_tests(want: Wanted, work: Work, draft: Draft, spare: frozenset[str] = frozenset()) -> None:
    """Whatever test instances of this GoldenImage are left are not needed any more."""
    for test in work.tests:
        action = EndTest(region=want.spec.region, instance=test.id)
        mine = test.owner == want.key and test.alive and test.image not in spare
        if mine and action not in draft.actions:
            draft.do(action)


# A person


def _approval(want: Wanted, version: int) -> GateResult:
    if want.rejected == version:
        return GateResult(name=MANUAL, state=FAILED, message="rejected by annotation")
    if want.approved == version:
        return GateResult(name=MANUAL, state=PASSED, message="approved by annotation")
    said = f"annotate the GoldenImage with goldenimage.dev/approve={version} (or reject)"
    return GateResult(name=MANUAL, state=PENDING, message=said)
