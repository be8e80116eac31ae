"""What Inspector found in AMIs and instances, and how EC2 shows it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

from gilder.sandbox.aws.model import Image, find_anywhere, need_visible
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK, DEFAULT_ACCOUNT

MACHINE_IMAGE, INSTANCE = "MACHINE_IMAGE", "AWS_EC2_INSTANCE"
# Severities from the worst down, each with a typical score.
SCORES = {
    "CRITICAL": 9.8,
    "HIGH": 8.1,
    "MEDIUM": 5.5,
    "LOW": 3.1,
    "INFORMATIONAL": 0.0,
    "UNTRIAGED": 0.0,
}
# What a status of `Findings.set` is in ListCoverage; any other is taken as the reason.
_COVERAGE = {
    "COMPLETE": ("ACTIVE", "SUCCESSFUL"),
    "PENDING": ("ACTIVE", "PENDING_INITIAL_SCAN"),
}


@dataclass(frozen=True)
class Finding:
    """One vulnerable package of a resource."""

    severity: str
    number: int
    fix_available: bool
    first_seen: datetime

    @property
    def vulnerability(self) -> str:
        place = list(SCORES).index(self.severity)
        return f"CVE-{self.first_seen.year}-{(place + 1) * 10_000 + self.number}"

    @property
    def title(self) -> str:
        return f"{self.vulnerability} - package-{self.number}"


@dataclass(eq=False)
class Scan:
    """The scan of one resource."""

    resource: str
    account: str
    region: str
    status: str
    scanned_at: datetime | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return INSTANCE if self.resource.startswith("i-") else MACHINE_IMAGE

    @property
    def coverage(self) -> tuple[str, str]:
        return _COVERAGE.get(self.status, ("INACTIVE", self.status))


class Findings:
    """`SandboxAws.findings`: what Inspector found. Without `set` nothing was ever scanned."""

    def __init__(self) -> None:
        self._scans: dict[tuple[str, str], Scan] = {}

    def set(
        self,
        resource: str,
        counts: Mapping[str, int] | None = None,
        *,
        scanned_at: datetime | None = None,
        status: str = "COMPLETE",
        fix_available: bool = True,
        region: str = "eu-west-1",
        account: str = DEFAULT_ACCOUNT,
    ) -> None:
        """The scan of an AMI or instance, with so many findings per severity.

        `status` is COMPLETE, PENDING, or why there is no scan, such as UNSUPPORTED_OS; only a
        complete one has findings and a time, which is now unless given.
        """
        for severity in counts or {}:
            if severity not in SCORES:
                raise ValueError(f"no such severity: {severity}; known: {', '.join(SCORES)}")
        done = status == "COMPLETE"
        at = (scanned_at or datetime.fromtimestamp(CLOCK.time(), UTC)) if done else None
        if at is not None and at.tzinfo is None:
            raise ValueError("scanned_at needs a time zone")
        scan = Scan(resource, account, region, status, at)
        if at is not None:
            scan.findings = [
                Finding(severity, n, fix_available, at)
                for severity, count in (counts or {}).items()
                for n in range(1, count + 1)
            ]
        self._scans[region, resource] = scan

    def clear(self, resource: str, region: str = "eu-west-1") -> None:
        """As if the resource had never been scanned."""
        self._scans.pop((region, resource), None)

    def reset(self) -> None:
        self._scans.clear()

    def of(self, resource: str, region: str) -> Scan | None:
        return self._scans.get((region, resource))

    def within(self, call: Call) -> Iterator[Scan]:
        """The scans of the caller's own resources that still exist."""
        for scan in self._scans.values():
            if (scan.account, scan.region) == (call.account, call.region) and _exists(scan):
                yield scan


FINDINGS = Findings()


def _exists(scan: Scan) -> bool:
    if scan.kind == MACHINE_IMAGE:
        return find_anywhere(scan.resource, scan.region) is not None
    instance = instance_of(scan)
    return instance is not None and instance.state != "terminated"


def instance_of(scan: Scan) -> Any | None:
    backend: Any = ec2_backends[scan.account][scan.region]
    return next((i for i in backend.all_instances() if i.id == scan.resource), None)


def _worst(findings: Sequence[Finding]) -> str | None:
    present = {f.severity for f in findings}
    return next((s for s in SCORES if s in present and s != "UNTRIAGED"), None)


def scan_results(image: Image) -> Mapping[str, Any] | None:
    """ScanResults of DescribeImages: only of AMIs that were scanned."""
    scan = FINDINGS.of(image.id, image.region)
    if scan is None or scan.scanned_at is None:
        return None
    out: dict[str, Any] = {"FindingScanDate": scan.scanned_at}
    worst = _worst(scan.findings)
    if worst is not None:
        out["HighestFindingSeverityLabel"] = worst.lower()
    for finding in scan.findings:
        if finding.fix_available and finding.severity != "UNTRIAGED":
            out[f"{finding.severity.capitalize()}FixAvailableSince"] = finding.first_seen
    return out


@ec2
def get_image_findings(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetImageFindings.html

    "You can get findings for AMIs that you own, AMIs that are shared with you, and public AMIs."
    """
    image = need_visible(call, call.need("ImageId"))
    call.dry_run()
    scan = FINDINGS.of(image.id, image.region)
    found = [f for f in (scan.findings if scan else []) if f.severity != "UNTRIAGED"]
    chosen, token = ec2_page(
        found, lambda f: f.vulnerability, call.get("MaxResults"), call.get("NextToken")
    )
    snapshot = image.snapshots[0] if image.snapshots else None
    listed = []
    for finding in chosen:
        entry = {
            "FixAvailable": finding.fix_available,
            "Score": SCORES[finding.severity],
            "FirstObservedAt": finding.first_seen,
            "UpdatedAt": scan.scanned_at if scan else None,
            "Title": finding.title,
            "Paths": [f"/usr/lib/package-{finding.number}"],
            "SeverityLabel": finding.severity.lower(),
        }
        if snapshot is not None:
            entry["SnapshotId"] = snapshot
        listed.append(entry)
    return answer("ImageFindings", listed, token)
