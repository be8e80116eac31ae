"""Findings of Inspector, and what the listing of AMIs tells of scans."""

from datetime import UTC, datetime, timedelta

from gilder.aws import findings, images
from gilder.aws.sessions import Sessions
from gilder.core.work import Scan
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"
AT = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
TIME = "2026-03-01T12:30:15Z"


def test_findings_are_counted_by_severity(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2(HOME)
    aws.findings.set(seeded.base_image, {"CRITICAL": 1, "HIGH": 1003}, scanned_at=AT)
    counts = {"critical": 1, "high": 1003}
    assert findings.scan(ec2, seeded.base_image, TIME) == Scan(TIME, counts, counts)
    assert aws.requests.total("GetImageFindings") == 2
    aws.findings.set(seeded.base_image, {"LOW": 2}, fix_available=False)
    assert findings.scan(ec2, seeded.base_image, TIME) == Scan(TIME, {"low": 2}, {})
    aws.findings.set(seeded.base_image, {})
    assert findings.scan(ec2, seeded.base_image, TIME) == Scan(TIME)


def test_an_ami_tells_when_it_was_scanned(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    def look() -> tuple[str, str]:
        raw = images.by_ids(sessions.ec2(HOME), [seeded.base_image])[0]
        image = images.parse(raw, HOME, {})
        return image.scanned_at, image.worst

    assert look() == ("", "")
    aws.findings.set(seeded.base_image, {"LOW": 1, "HIGH": 2}, scanned_at=AT)
    assert look() == (TIME, "high")
    aws.findings.set(seeded.base_image, {}, scanned_at=AT)
    assert look() == (TIME, "")


def test_amis_are_found_by_a_tag(aws: SandboxAws, sessions: Sessions, seeded: Seeded) -> None:  # noqa: ARG001
    ec2 = sessions.ec2(HOME)
    made = [
        register(aws, f"built-{n}", make_snapshot(aws), tags={"goldenimage.dev/build": f"b{n}"})
        for n in range(3)
    ]
    ec2.disable_image(ImageId=made[1])
    soon = datetime.now(UTC) + timedelta(hours=1)
    ec2.enable_image_deprecation(ImageId=made[0], DeprecateAt=soon)
    aws.clock.advance(7200)

    def found(*values: str) -> set[str]:
        return {r["ImageId"] for r in images.tagged(ec2, "goldenimage.dev/build", values)}

    assert found("b0", "b1") == {made[0], made[1]}
    assert found("b*", "b?") == set()
    assert found() == set()
    aws.requests.reset()
    assert found(*(f"b{n}" for n in range(250))) == set(made)
    assert aws.requests.total("DescribeImages") == 2
