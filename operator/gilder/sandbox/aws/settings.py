"""Knobs of the sandbox's AWS, and its clock."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

# moto's account id for credentials that name no account.
DEFAULT_ACCOUNT = "123456789012"

BLOCK_ALL_SHARING = "block-all-sharing"
BLOCK_NEW_SHARING = "block-new-sharing"
UNBLOCKED = "unblocked"


class Clock:
    """Wall time plus an offset that tests may move forward."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        return time.time() + self._offset

    def now(self) -> datetime:
        """The time as moto keeps it: UTC, without tzinfo."""
        return datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=self._offset)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._offset += seconds

    def reset(self) -> None:
        with self._lock:
            self._offset = 0.0


@dataclass
class Settings:
    """What a test or `gilder sandbox` may set, at any time."""

    # Seconds an AMI stays `pending` after CreateImage and CopyImage.
    image_delay: float = 0.0
    # Seconds a copy of a snapshot stays `pending`; those of an AMI end with the AMI.
    snapshot_delay: float = 0.0
    # Copies of AMIs still pending per destination Region and account.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/CopyingAMIs.html
    max_concurrent_copies: int = 300
    # The same for CopySnapshot. https://docs.aws.amazon.com/general/latest/gr/ebs-service.html
    max_concurrent_snapshot_copies: int = 20
    # Seconds until a retention rule of Recycle Bin works; the first of an account takes AWS up
    # to 30 minutes.
    retention_rule_delay: float = 0.0
    # Seconds a usage report stays `pending`, and how late use is seen by it.
    usage_report_delay: float = 0.0
    usage_report_lag: float = 0.0
    # Seconds until a launch is seen in lastLaunchedTime; 24 hours on AWS.
    last_launched_delay: float = 0.0
    # Seconds that a terminated instance still counts as a reference; about an hour on AWS.
    terminated_seconds: float = 0.0
    # https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
    grants_per_key: int = 50_000
    # Lists of Organizations may begin with an empty page that has a NextToken.
    organizations_empty_page: bool = False
    # Whether accounts still have Status beside State; it is to be retired in September 2026.
    account_status: bool = True
    # New accounts of AWS start with block-new-sharing.
    image_block_public_access: str = UNBLOCKED
    # KMS shows a grantee by its unique id once the principal of an ARN is deleted.
    grantee_as_unique_id: bool = False
    # Whether a launch from an encrypted AMI without a usable key terminates the instance.
    check_key_at_launch: bool = True
    # Whether CopyImage from another account needs createVolumePermission on the snapshots.
    check_snapshot_permission: bool = True
    # Seconds from the start of an Image Builder build to its end, split evenly among its states.
    build_seconds: float = 0.0
    # Whether infrastructure configurations need an instance profile that exists.
    check_instance_profile: bool = True
    # Seconds from a launch until Systems Manager sees the instance.
    ssm_online_seconds: float = 0.0
    # Seconds that a Run Command invocation takes.
    command_seconds: float = 0.0
    # Seconds from SendCommand until GetCommandInvocation knows the invocation.
    invocation_lag: float = 0.0

    def update(self, **values: object) -> None:
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"no such setting: {name}; known: {', '.join(sorted(known))}")
            setattr(self, name, value)

    @contextmanager
    def changed(self, **values: object) -> Iterator[None]:
        """Settings for the length of a block."""
        before = {name: getattr(self, name) for name in values if hasattr(self, name)}
        self.update(**values)
        try:
            yield
        finally:
            self.update(**before)


# One of each per process, because moto's state is one per process.
CLOCK = Clock()
SETTINGS = Settings()


def reset_settings(**initial: object) -> None:
    for f in fields(Settings):
        setattr(SETTINGS, f.name, f.default)
    SETTINGS.update(**initial)
