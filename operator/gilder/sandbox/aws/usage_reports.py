"""Usage reports of AMIs: which other accounts use one, and how much.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/your-ec2-ami-usage.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.moto_api._internal import mock_random

from gilder.sandbox.aws import usage
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.filters import apply_filters
from gilder.sandbox.aws.idempotency import idempotent
from gilder.sandbox.aws.imagebuilder.store import STORES
from gilder.sandbox.aws.model import check_image_ids, need_owned
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.state import REGIONS, UsageReport, region_state
from gilder.sandbox.aws.tags import drop_tags, set_tags, tag_list, tags_for
from gilder.sandbox.aws.times import moment, stamp

_TYPES = (usage.INSTANCE, usage.TEMPLATE, usage.RECIPE, usage.CONTAINER)
# "The quotas apply per AWS Region."
_PENDING_PER_ACCOUNT, _PENDING_PER_IMAGE = 2000, 1
_VERSION_DEPTH, _ACCOUNTS = 20, 200
_LIFE = 30 * 24 * 3600.0


class UsageReports:
    """How reports turn out; set by tests."""

    def __init__(self) -> None:
        self._failures: list[str] = []

    def reset(self) -> None:
        self._failures.clear()

    def fail(self, reason: str = "The report could not be created.") -> None:
        """The next report that is asked for ends in `error`, for this reason."""
        self._failures.append(reason)

    def next_failure(self) -> str | None:
        return self._failures.pop(0) if self._failures else None


# One per process, because moto's state is one per process.
USAGE_REPORTS = UsageReports()


def settle() -> None:
    """Forget reports: "Amazon EC2 automatically deletes a report 30 days after creation"."""
    now = CLOCK.time()
    for (account, region), state in list(REGIONS.items()):
        for report in list(state.reports.values()):
            if report.created + _LIFE <= now:
                del state.reports[report.id]
                backend: Any = ec2_backends[account][region]
                drop_tags(backend, report.id)


def _state(report: UsageReport) -> str:
    if CLOCK.time() < report.ready_at:
        return "pending"
    return "error" if report.failure is not None else "available"


def _types(call: Call) -> list[dict[str, Any]]:
    out = []
    for entry in call.need("ResourceTypes"):
        kind = entry.get("ResourceType")
        if kind not in _TYPES:
            raise AwsError(
                "InvalidParameterValue", f"Value ({kind}) for parameter resourceType is invalid."
            )
        if kind == usage.INSTANCE and entry.get("ResourceTypeOptions"):
            raise AwsError(
                "InvalidParameterValue", "Options are valid only for ec2:LaunchTemplate."
            )
        usage.options_of(entry)
        out.append(dict(entry))
    return out


def _others(call: Call, accounts: list[str]) -> list[str]:
    """The accounts to look at, never the caller's own: "other Amazon Web Services accounts"."""
    known = {*ec2_backends, *(account for account, _ in STORES)} - {call.account}
    return sorted(known & set(accounts) if accounts else known)


def _entries(
    call: Call, image: str, types: list[dict[str, Any]], accounts: list[str]
) -> Iterator[tuple[str, str, int]]:
    """A template counts once, whichever of its versions have the AMI."""
    until = CLOCK.time() - SETTINGS.usage_report_lag
    for account in _others(call, accounts):
        for entry in types:
            kind, options = entry["ResourceType"], usage.options_of(entry)
            if kind == usage.INSTANCE:
                options = {"state-name": [s for s in usage.STATES if s != "terminated"]}
            found = usage.references(
                account, call.region, image, kind, options, depth=_VERSION_DEPTH, until=until
            )
            if found:
                yield account, kind, len(found)


@ec2
@idempotent
def create_image_usage_report(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImageUsageReport.html"""
    image, types = need_owned(call), _types(call)
    accounts = list(call.get("AccountIds", []))
    if len(accounts) > _ACCOUNTS or any(not (a.isdigit() and len(a) == 12) for a in accounts):
        raise AwsError("InvalidParameterValue", f"AccountIds are at most {_ACCOUNTS} account ids.")
    tags = tags_for(call, "image-usage-report")["image-usage-report"]
    reports = region_state(call.account, call.region).reports
    pending = [r for r in reports.values() if _state(r) == "pending"]
    if len(pending) >= _PENDING_PER_ACCOUNT or (
        sum(r.image == image.id for r in pending) >= _PENDING_PER_IMAGE
    ):
        raise AwsError(
            "ResourceLimitExceeded", f"There are too many usage reports in progress for {image.id}."
        )
    call.dry_run()
    now = CLOCK.time()
    report = UsageReport(
        id=f"amiur-{mock_random.get_random_hex(17)}",
        image=image.id,
        resource_types=types,
        accounts=accounts,
        created=now,
        ready_at=now + SETTINGS.usage_report_delay,
        entries=list(_entries(call, image.id, types, accounts)),
        failure=USAGE_REPORTS.next_failure(),
    )
    reports[report.id] = report
    set_tags(call.backend, report.id, tags)
    return {"ReportId": report.id}


def _shown(call: Call, report: UsageReport) -> dict[str, Any]:
    out: dict[str, Any] = {
        "ImageId": report.image,
        "ReportId": report.id,
        "ResourceTypes": report.resource_types,
        "State": _state(report),
        "CreationTime": moment(report.created),
        "ExpirationTime": moment(report.created + _LIFE),
        "Tags": tag_list(call.backend, report.id),
    }
    if report.accounts:
        out["AccountIds"] = report.accounts
    if out["State"] == "error":
        out["StateReason"] = report.failure
    return out


def _not_found(report_id: str) -> AwsError:
    return AwsError(
        "InvalidImageUsageReportId.NotFound", f"The report '{report_id}' does not exist."
    )


def _chosen(call: Call) -> list[UsageReport]:
    """The reports of the caller that the request names by id or AMI; all if it names none."""
    reports = region_state(call.account, call.region).reports
    ids, images = call.get("ReportIds", []), call.get("ImageIds", [])
    check_image_ids(images)
    for report_id in ids:
        if report_id not in reports:
            raise _not_found(report_id)
    call.dry_run()
    return [
        r
        for r in reports.values()
        if (not ids or r.id in ids) and (not images or r.image in images)
    ]


@ec2
def describe_image_usage_reports(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImageUsageReports.html"""
    found = apply_filters(
        _chosen(call),
        call.get("Filters", []),
        {"creation-time": lambda r: [stamp(r.created)], "state": lambda r: [_state(r)]},
        lambda r: call.backend.tags.get(r.id, {}),
    )
    chosen, token = ec2_page(found, lambda r: r.id, call.get("MaxResults"), call.get("NextToken"))
    return answer("ImageUsageReports", [_shown(call, r) for r in chosen], token)


@ec2
def describe_image_usage_report_entries(call: Call) -> Mapping[str, Any]:
    """What reports found. "To be able to view the report entries, the state must be `available`."

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImageUsageReportEntries.html
    """
    entries = [
        (report, *entry)
        for report in _chosen(call)
        if _state(report) == "available"
        for entry in report.entries
    ]
    found = apply_filters(
        entries,
        call.get("Filters", []),
        {
            "account-id": lambda e: [e[1]],
            "creation-time": lambda e: [stamp(e[0].created)],
            "resource-type": lambda e: [e[2]],
        },
        lambda _: {},
    )
    chosen, token = ec2_page(
        found,
        lambda e: f"{e[0].id} {e[1]} {e[2]}",
        call.get("MaxResults"),
        call.get("NextToken"),
    )
    shown = [
        {
            "ImageId": report.image,
            "ReportId": report.id,
            "ReportCreationTime": moment(report.created),
            "AccountId": account,
            "ResourceType": kind,
            "UsageCount": count,
        }
        for report, account, kind, count in chosen
    ]
    return answer("ImageUsageReportEntries", shown, token)


@ec2
def delete_image_usage_report(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteImageUsageReport.html"""
    report_id, reports = call.need("ReportId"), region_state(call.account, call.region).reports
    if report_id not in reports:
        raise _not_found(report_id)
    call.dry_run()
    del reports[report_id]
    drop_tags(call.backend, report_id)
    return {"Return": True}
