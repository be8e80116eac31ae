"""Inspector's findings: what was set is what EC2 and Inspector show, with real filters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gilder.sandbox.aws.server import SandboxAws

B = "222222222222"
AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
COUNTS = {"CRITICAL": 1, "HIGH": 3, "LOW": 2}


@pytest.fixture
def inspector(aws: SandboxAws) -> Any:
    return aws.client("inspector2")


def equals(value: str, comparison: str = "EQUALS") -> list[dict[str, str]]:
    return [{"comparison": comparison, "value": value}]


def found(inspector: Any, **criteria: Any) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = inspector.list_findings(filterCriteria=criteria)["findings"]
    return answer


def severities(findings: list[dict[str, Any]]) -> list[str]:
    return [f["severity"] for f in findings]


def test_an_image_that_was_never_scanned_has_nothing(ec2: Any, inspector: Any, base: str) -> None:
    assert "ScanResults" not in ec2.describe_images(ImageIds=[base])["Images"][0]
    assert ec2.get_image_findings(ImageId=base)["ImageFindings"] == []
    assert inspector.list_findings()["findings"] == []
    assert inspector.list_coverage()["coveredResources"] == []


def test_ec2_shows_the_scan(aws: SandboxAws, ec2: Any, base: str) -> None:
    aws.findings.set(base, COUNTS, scanned_at=AT)
    scan = ec2.describe_images(ImageIds=[base])["Images"][0]["ScanResults"]
    assert scan == {
        "HighestFindingSeverityLabel": "critical",
        "FindingScanDate": AT,
        "CriticalFixAvailableSince": AT,
        "HighFixAvailableSince": AT,
        "LowFixAvailableSince": AT,
    }
    findings = ec2.get_image_findings(ImageId=base)["ImageFindings"]
    assert [f["SeverityLabel"] for f in findings] == ["critical", *["high"] * 3, *["low"] * 2]
    assert findings[0]["FixAvailable"] is True
    assert findings[0]["FirstObservedAt"] == AT
    assert findings[0]["SnapshotId"].startswith("snap-")
    assert len({f["Title"] for f in findings}) == 6
    aws.findings.set(base, {"MEDIUM": 1}, fix_available=False)
    scan = ec2.describe_images(ImageIds=[base])["Images"][0]["ScanResults"]
    assert set(scan) == {"HighestFindingSeverityLabel", "FindingScanDate"}
    aws.findings.set(base)
    scan = ec2.describe_images(ImageIds=[base])["Images"][0]["ScanResults"]
    assert set(scan) == {"FindingScanDate"}
    aws.findings.clear(base)
    assert "ScanResults" not in ec2.describe_images(ImageIds=[base])["Images"][0]


def test_image_findings_have_pages_and_need_a_visible_image(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    aws.findings.set(base, COUNTS)
    titles, token = [], {}
    while True:
        answer = ec2.get_image_findings(ImageId=base, MaxResults=4, **token)
        titles += [f["Title"] for f in answer["ImageFindings"]]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert len(titles) == len(set(titles)) == 6
    other = aws.client("ec2", account=B)
    with refused("InvalidAMIID.NotFound"):
        other.get_image_findings(ImageId=base)
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": B}]})
    assert len(other.get_image_findings(ImageId=base)["ImageFindings"]) == 6
    assert aws.client("inspector2", account=B).list_findings()["findings"] == []
    with refused("DryRunOperation"):
        ec2.get_image_findings(ImageId=base, DryRun=True)


def test_a_finding_in_full(aws: SandboxAws, inspector: Any, base: str) -> None:
    aws.findings.set(base, {"HIGH": 1}, scanned_at=AT)
    finding = found(inspector)[0]
    assert finding["awsAccountId"] == "123456789012"
    assert (finding["severity"], finding["status"], finding["fixAvailable"]) == (
        "HIGH", "ACTIVE", "YES",
    )  # fmt: skip
    assert finding["lastObservedAt"] == AT
    resource = finding["resources"][0]
    assert (resource["type"], resource["id"]) == ("MACHINE_IMAGE", base)
    assert resource["details"]["machineImage"]["name"] == "base-image"
    assert resource["tags"] == {"Name": "base"}
    details = finding["packageVulnerabilityDetails"]
    assert finding["title"].startswith(details["vulnerabilityId"])
    assert details["vulnerablePackages"][0]["fixedInVersion"]


def test_filters_are_evaluated(
    aws: SandboxAws, ec2: Any, inspector: Any, base: str, encrypted: str
) -> None:
    instance = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    aws.findings.set(base, {"CRITICAL": 1, "HIGH": 2}, scanned_at=AT)
    aws.findings.set(encrypted, {"LOW": 1}, scanned_at=AT + timedelta(days=1), fix_available=False)
    aws.findings.set(instance, {"MEDIUM": 1})
    assert len(found(inspector)) == 5
    assert severities(found(inspector, resourceId=equals(base))) == ["CRITICAL", "HIGH", "HIGH"]
    assert severities(found(inspector, resourceType=equals("AWS_EC2_INSTANCE"))) == ["MEDIUM"]
    assert len(found(inspector, resourceType=equals("MACHINE_IMAGE"))) == 4
    assert severities(found(inspector, ec2InstanceImageId=equals(base))) == ["MEDIUM"]
    assert severities(found(inspector, machineImageId=equals(encrypted))) == ["LOW"]
    assert severities(found(inspector, machineImageName=equals("enc", "PREFIX"))) == ["LOW"]
    either = equals("LOW") + equals("CRITICAL")
    assert sorted(severities(found(inspector, severity=either))) == ["CRITICAL", "LOW"]
    not_high = equals("HIGH", "NOT_EQUALS")
    assert severities(found(inspector, resourceId=equals(base), severity=not_high)) == ["CRITICAL"]
    assert severities(found(inspector, fixAvailable=equals("NO"))) == ["LOW"]
    assert severities(found(inspector, inspectorScore=[{"lowerInclusive": 9.0}])) == ["CRITICAL"]
    tagged = [{"comparison": "EQUALS", "key": "Name", "value": "base"}]
    assert len(found(inspector, resourceTags=tagged)) == 3
    window = [{"startInclusive": AT + timedelta(hours=1), "endInclusive": AT + timedelta(days=2)}]
    assert severities(found(inspector, lastObservedAt=window)) == ["LOW"]
    assert found(inspector, ecrImageRegistry=equals("x")) == []
    assert found(inspector, findingStatus=equals("SUPPRESSED")) == []
    assert found(inspector, awsAccountId=equals(B)) == []
    ordered = inspector.list_findings(sortCriteria={"field": "SEVERITY", "sortOrder": "DESC"})
    assert severities(ordered["findings"]) == ["CRITICAL", "HIGH", "HIGH", "MEDIUM", "LOW"]


def test_findings_have_pages(aws: SandboxAws, inspector: Any, base: str, refused: Any) -> None:
    aws.findings.set(base, {"HIGH": 5})
    arns = []
    for answer in inspector.get_paginator("list_findings").paginate(
        PaginationConfig={"PageSize": 2}
    ):
        arns += [f["findingArn"] for f in answer["findings"]]
    assert len(arns) == len(set(arns)) == 5
    assert aws.requests.total("ListFindings", service="inspector2") == 3
    with refused("ValidationException"):
        inspector.list_findings(nextToken="nonsense")


def test_coverage(aws: SandboxAws, ec2: Any, inspector: Any, base: str, encrypted: str) -> None:
    instance = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    aws.findings.set(base, {"HIGH": 1}, scanned_at=AT)
    aws.findings.set(encrypted, status="PENDING")
    aws.findings.set(instance, status="UNMANAGED_EC2_INSTANCE")

    def covered(**criteria: Any) -> dict[str, tuple[Any, ...]]:
        answer = inspector.list_coverage(filterCriteria=criteria)
        return {
            c["resourceId"]: (
                c["scanStatus"]["statusCode"], c["scanStatus"]["reason"], c.get("lastScannedAt"),
            )
            for c in answer["coveredResources"]
        }  # fmt: skip

    everything = {
        base: ("ACTIVE", "SUCCESSFUL", AT),
        encrypted: ("ACTIVE", "PENDING_INITIAL_SCAN", None),
        instance: ("INACTIVE", "UNMANAGED_EC2_INSTANCE", None),
    }
    assert covered() == everything
    assert set(covered(resourceType=equals("MACHINE_IMAGE"))) == {base, encrypted}
    assert set(covered(scanStatusReason=equals("SUCCESSFUL"))) == {base}
    assert set(covered(scanStatusCode=equals("ACTIVE", "NOT_EQUALS"))) == {instance}
    assert set(covered(resourceId=equals(encrypted))) == {encrypted}
    assert set(covered(lastScannedAt=[{"startInclusive": AT}])) == {base}
    tagged = [{"comparison": "EQUALS", "key": "Name"}]
    assert set(covered(machineImageTags=tagged)) == {base}
    page = inspector.list_coverage(maxResults=2)
    rest = inspector.list_coverage(maxResults=2, nextToken=page["nextToken"])
    assert len(page["coveredResources"] + rest["coveredResources"]) == 3
    ec2.deregister_image(ImageId=base)
    ec2.terminate_instances(InstanceIds=[instance])
    assert set(covered()) == {encrypted}


def test_unknown_severities_are_refused(aws: SandboxAws, base: str) -> None:
    with pytest.raises(ValueError, match="no such severity: AWFUL"):
        aws.findings.set(base, {"AWFUL": 1})
    aws.findings.set(base, {"HIGH": 1})
    aws.reset()
    assert aws.client("inspector2").list_findings()["findings"] == []
