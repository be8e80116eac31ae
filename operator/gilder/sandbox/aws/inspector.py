"""Inspector: ListFindings and ListCoverage with their filters, about AMIs and instances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from moto.ec2.models import ec2_backends
from moto.inspector2.responses import Inspector2Response
from moto.inspector2.urls import url_paths

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.findings import (
    FINDINGS,
    INSTANCE,
    MACHINE_IMAGE,
    SCORES,
    Finding,
    Scan,
    instance_of,
)
from gilder.sandbox.aws.model import Image, find_anywhere
from gilder.sandbox.aws.pagination import page
from gilder.sandbox.aws.registry import Call, plain_method

T = TypeVar("T")


@dataclass(eq=False)
class _Row:
    """A finding with its scan, and the resource as it is now."""

    scan: Scan
    finding: Finding
    arn: str


def _rows(call: Call) -> list[_Row]:
    out = []
    for scan in FINDINGS.within(call):
        for finding in scan.findings:
            arn = (
                f"arn:aws:inspector2:{call.region}:{call.account}:finding/"
                f"{scan.resource}-{finding.vulnerability}".lower()
            )
            out.append(_Row(scan, finding, arn))
    return out


def _image_of(scan: Scan) -> Image | None:
    return find_anywhere(scan.resource, scan.region) if scan.kind == MACHINE_IMAGE else None


def _instance_image(scan: Scan) -> list[str]:
    instance = instance_of(scan) if scan.kind == INSTANCE else None
    return [instance.image_id] if instance is not None else []


def _of_image(get: Callable[[Image], str]) -> Callable[[_Row], list[str]]:
    def values(row: _Row) -> list[str]:
        image = _image_of(row.scan)
        return [] if image is None else [get(image)]

    return values


def _tags_of(scan: Scan) -> dict[str, str]:
    backend: Any = ec2_backends[scan.account][scan.region]
    return dict(backend.tags.get(scan.resource, {}))


_TEXT: Mapping[str, Callable[[_Row], list[str]]] = {
    "awsAccountId": lambda r: [r.scan.account],
    "componentType": lambda r: [r.scan.kind],
    "ec2InstanceImageId": lambda r: _instance_image(r.scan),
    "exploitAvailable": lambda _: ["NO"],
    "findingArn": lambda r: [r.arn],
    "findingStatus": lambda _: ["ACTIVE"],
    "findingType": lambda _: ["PACKAGE_VULNERABILITY"],
    "fixAvailable": lambda r: ["YES" if r.finding.fix_available else "NO"],
    "machineImageId": lambda r: [r.scan.resource] if r.scan.kind == MACHINE_IMAGE else [],
    "machineImageName": _of_image(lambda i: i.name),
    "machineImageOwnerAccountId": _of_image(lambda i: i.owner_id),
    "resourceId": lambda r: [r.scan.resource],
    "resourceType": lambda r: [r.scan.kind],
    "severity": lambda r: [r.finding.severity],
    "title": lambda r: [r.finding.title],
    "vulnerabilityId": lambda r: [r.finding.vulnerability],
    "vulnerabilitySource": lambda _: ["NVD"],
}
_TIMES: Mapping[str, Callable[[_Row], datetime | None]] = {
    "firstObservedAt": lambda r: r.finding.first_seen,
    "lastObservedAt": lambda r: r.scan.scanned_at,
    "updatedAt": lambda r: r.scan.scanned_at,
}
_NUMBERS: Mapping[str, Callable[[_Row], float]] = {
    "inspectorScore": lambda r: SCORES[r.finding.severity]
}


def _text_matches(filters: Sequence[Mapping[str, Any]], values: Sequence[str]) -> bool:
    """EQUALS and PREFIX are alternatives, every NOT_EQUALS must hold."""
    wanted = [f for f in filters if f["comparison"] != "NOT_EQUALS"]
    if any(f["value"] in values for f in filters if f["comparison"] == "NOT_EQUALS"):
        return False
    return not wanted or any(
        v.startswith(f["value"]) if f["comparison"] == "PREFIX" else v == f["value"]
        for f in wanted
        for v in values
    )


def _time_matches(filters: Sequence[Mapping[str, Any]], value: datetime | None) -> bool:
    return value is not None and any(
        _utc(f.get("startInclusive"), datetime.min)
        <= value
        <= _utc(f.get("endInclusive"), datetime.max)
        for f in filters
    )


def _utc(value: datetime | None, otherwise: datetime) -> datetime:
    value = otherwise if value is None else value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _number_matches(filters: Sequence[Mapping[str, Any]], value: float) -> bool:
    return any(
        f.get("lowerInclusive", value) <= value <= f.get("upperInclusive", value) for f in filters
    )


def _tags_match(filters: Sequence[Mapping[str, Any]], tags: Mapping[str, str]) -> bool:
    return any(
        f["key"] in tags and f.get("value", tags[f["key"]]) == tags[f["key"]] for f in filters
    )


def _finding_matches(row: _Row, criteria: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    for name, filters in criteria.items():
        if not filters:
            continue
        if name in _TIMES:
            good = _time_matches(filters, _TIMES[name](row))
        elif name in _NUMBERS:
            good = _number_matches(filters, _NUMBERS[name](row))
        elif name == "resourceTags":
            good = _tags_match(filters, _tags_of(row.scan))
        elif name in _TEXT:
            good = _text_matches(filters, _TEXT[name](row))
        else:
            # Of other kinds of resources; these have no such value.
            good = all(f.get("comparison") == "NOT_EQUALS" for f in filters)
        if not good:
            return False
    return True


_SORTS: Mapping[str, Callable[[_Row], Any]] = {
    "FIRST_OBSERVED_AT": lambda r: r.finding.first_seen,
    "INSPECTOR_SCORE": lambda r: SCORES[r.finding.severity],
    "LAST_OBSERVED_AT": lambda r: r.scan.scanned_at,
    "RESOURCE_TYPE": lambda r: r.scan.kind,
    "SEVERITY": lambda r: -list(SCORES).index(r.finding.severity),
    "VULNERABILITY_ID": lambda r: r.finding.vulnerability,
}


def list_findings(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/inspector/v2/APIReference/API_ListFindings.html"""
    found = [r for r in _rows(call) if _finding_matches(r, call.get("filterCriteria", {}))]
    order = call.get("sortCriteria")
    if order is not None and order["field"] in _SORTS:
        found.sort(key=_SORTS[order["field"]], reverse=order["sortOrder"] == "DESC")
    chosen, rest = _paged(call, found, lambda r: r.arn, 100)
    return {"findings": [_shown(r) for r in chosen], **rest}


def _paged(
    call: Call, items: list[T], key: Callable[[T], str], largest: int
) -> tuple[list[T], dict[str, Any]]:
    limit = call.get("maxResults", largest)
    if not 1 <= limit <= largest:
        raise AwsError("ValidationException", f"maxResults must be from 1 to {largest}.")
    problem = AwsError("ValidationException", "The nextToken is not valid.")
    chosen, token = page(items, key, limit, call.get("nextToken"), problem)
    return chosen, {} if token is None else {"nextToken": token}


def _resource(scan: Scan) -> dict[str, Any]:
    out: dict[str, Any] = {
        "type": scan.kind,
        "id": scan.resource,
        "partition": "aws",
        "region": scan.region,
        "tags": _tags_of(scan),
    }
    image, instance = _image_of(scan), instance_of(scan)
    if image is not None:
        out["details"] = {
            "machineImage": {
                "machineImageId": image.id,
                "name": image.name,
                "ownerAccountId": image.owner_id,
                "architecture": "ARM64" if image.architecture == "arm64" else "X86_64",
                "creationDate": image.created.replace(tzinfo=UTC),
                "state": image.state,
                "isPublic": image.is_public,
                "rootDeviceType": image.root_device_type,
                "virtualizationType": image.virtualization_type,
            }
        }
    elif instance is not None:
        out["details"] = {
            "awsEc2Instance": {
                "type": instance.instance_type,
                "imageId": instance.image_id,
                "launchedAt": instance.launch_time.replace(tzinfo=UTC),
            }
        }
    return out


def _shown(row: _Row) -> dict[str, Any]:
    finding, scan = row.finding, row.scan
    fix = {"fixedInVersion": "1.0.1"} if finding.fix_available else {}
    return {
        "findingArn": row.arn,
        "awsAccountId": scan.account,
        "type": "PACKAGE_VULNERABILITY",
        "description": f"A vulnerability in package-{finding.number}.",
        "title": finding.title,
        "remediation": {"recommendation": {"text": "None Provided"}},
        "severity": finding.severity,
        "firstObservedAt": finding.first_seen,
        "lastObservedAt": scan.scanned_at,
        "updatedAt": scan.scanned_at,
        "status": "ACTIVE",
        "resources": [_resource(scan)],
        "inspectorScore": SCORES[finding.severity],
        "fixAvailable": "YES" if finding.fix_available else "NO",
        "exploitAvailable": "NO",
        "packageVulnerabilityDetails": {
            "vulnerabilityId": finding.vulnerability,
            "source": "NVD",
            "vulnerablePackages": [
                {"name": f"package-{finding.number}", "version": "1.0.0", **fix}
            ],
        },
    }


_COVERED: Mapping[str, Callable[[Scan], list[str]]] = {
    "accountId": lambda s: [s.account],
    "resourceId": lambda s: [s.resource],
    "resourceType": lambda s: [s.kind],
    "scanStatusCode": lambda s: [s.coverage[0]],
    "scanStatusReason": lambda s: [s.coverage[1]],
    "scanType": lambda _: ["PACKAGE"],
}
_TAG_FILTERS = {"machineImageTags": MACHINE_IMAGE, "ec2InstanceTags": INSTANCE}


def _covered(scan: Scan, criteria: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    for name, filters in criteria.items():
        if name == "lastScannedAt":
            good = _time_matches(filters, scan.scanned_at)
        elif name in _TAG_FILTERS:
            good = scan.kind == _TAG_FILTERS[name] and _tags_match(filters, _tags_of(scan))
        elif name in _COVERED:
            good = _text_matches(filters, _COVERED[name](scan))
        else:
            good = all(f.get("comparison") == "NOT_EQUALS" for f in filters)
        if not good:
            return False
    return True


def list_coverage(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/inspector/v2/APIReference/API_ListCoverage.html"""
    found = [s for s in FINDINGS.within(call) if _covered(s, call.get("filterCriteria", {}))]
    chosen, rest = _paged(call, found, lambda s: s.resource, 200)
    listed = []
    for scan in chosen:
        code, reason = scan.coverage
        entry: dict[str, Any] = {
            "resourceType": scan.kind,
            "resourceId": scan.resource,
            "accountId": scan.account,
            "scanType": "PACKAGE",
            "scanStatus": {"statusCode": code, "reason": reason},
            "resourceMetadata": _metadata(scan),
        }
        if scan.scanned_at is not None:
            entry["lastScannedAt"] = scan.scanned_at
        listed.append(entry)
    return {"coveredResources": listed, **rest}


def _metadata(scan: Scan) -> dict[str, Any]:
    about = {"tags": _tags_of(scan), "platform": "LINUX"}
    if scan.kind == MACHINE_IMAGE:
        return {"machineImage": about}
    return {"ec2": {**about, "amiId": next(iter(_instance_image(scan)), "")}}


def install() -> None:
    response: Any = Inspector2Response
    for handler in (list_findings, list_coverage):
        method = plain_method(handler)

        def parsed(self: Any, method: Any = method) -> Any:
            self.parse_parameters(self.normalized_request)
            return method(self)

        setattr(response, handler.__name__, parsed)
    url_paths["{0}/coverage/list$"] = Inspector2Response.dispatch
