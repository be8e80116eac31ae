"""The shared read of what uses AMIs, and of what lies in the Recycle Bin, by Region.

As in `view`, readers say how old it may be. Nothing is raised: what cannot be read is told, and
counts as used.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from gilder.aws import errors, images, usage
from gilder.aws.remembered import NEVER, Clock, Remembered
from gilder.aws.sessions import Sessions
from gilder.aws.view import SLOW
from gilder.core.observed import Problem, Use

BIN_AGE = 60.0  # seconds that a listing of the Recycle Bin is used
REFUSED_AGE = 3600.0  # seconds for which what AWS does not restore counts as gone


class _Region:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.uses: Remembered[str, Use] = Remembered()
        self.bin: tuple[dict[str, str], float] = ({}, NEVER)
        # What Auto Scaling groups name, of the whole Region, and since when that is known
        self.scaling: tuple[dict[str, tuple[str, ...]], float] = ({}, NEVER)
        self.refused: Remembered[str, bool] = Remembered()


class UseViews:
    """All Regions of one account."""

    def __init__(self, sessions: Sessions, clock: Clock = time.monotonic) -> None:
        self._sessions = sessions
        self._clock = clock
        self._lock = threading.Lock()
        self._regions: dict[str, _Region] = {}

    def read(self, wanted: Mapping[str, Mapping[str, bool]], since: float) -> dict[str, Use]:
        """AMI to its use. `wanted` is by Region and AMI whether it must be as of `since`; other
        answers may be some minutes old, and say so."""
        found: dict[str, Use] = {}
        for name, ids in wanted.items():
            region = self._region(name)
            with region.lock:
                known = {
                    i: u
                    for i, fresh in ids.items()
                    if (u := region.uses.get(i, since if fresh else self._clock() - SLOW))
                }
                if left := sorted(ids.keys() - known.keys()):
                    fresh = any(ids[i] for i in left)
                    found |= self._read(name, region, left, since if fresh else NEVER)
                for image, use in known.items():
                    old = region.uses.get(image, since) is None
                    found[image] = replace(use, old=True) if old else use
                if region.scaling[1] < since:
                    found |= {i: replace(found[i], old=True) for i in ids if i in found}
        return found

    def restorable(self, name: str) -> dict[str, str]:
        """AMIs in the Recycle Bin with their names; none where it cannot be read."""
        region = self._region(name)
        with region.lock:
            known, at = region.bin
            if at < self._clock() - BIN_AGE:
                began = self._clock()
                try:
                    known = images.in_recycle_bin(self._sessions.ec2(name))
                except errors.AWS_ERRORS:
                    known = {}
                region.bin = (known, began)
            since = self._clock() - REFUSED_AGE
            return {i: n for i, n in known.items() if not region.refused.get(i, since)}

    def refused(self, name: str, image: str) -> None:
        """AWS does not restore it, such as when its snapshots are gone: it is made anew instead."""
        region = self._region(name)
        with region.lock:
            region.refused.put(image, True, self._clock())

    def forget(self, name: str, image: str) -> None:
        """Its use, or whether it is in the Recycle Bin, was changed or asked for."""
        region = self._region(name)
        with region.lock:
            region.uses.expire(image, self._clock())
            region.bin = ({}, NEVER)

    def _region(self, name: str) -> _Region:
        with self._lock:
            return self._regions.setdefault(name, _Region())

    def _read(self, name: str, region: _Region, ids: list[str], since: float) -> dict[str, Use]:
        began = self._clock()
        try:
            ec2, account = self._sessions.ec2(name), self._sessions.account()
            here = usage.references(ec2, ids)
            scaling, at = self._scaling(name, region, max(since, began - SLOW))
        except errors.AWS_ERRORS as error:
            return dict.fromkeys(ids, Use(problem=_lack(error, name)))
        elsewhere: dict[str, Use] = {}
        lack: Problem | None = None
        try:
            elsewhere = usage.reported(ec2, ids, account)
        except errors.AWS_ERRORS as error:
            lack = _lack(error, name)
        found = {}
        for image, by in usage.joined(ids, here, scaling).items():
            found[image] = replace(elsewhere.get(image, Use()), by=by, lack=lack)
            if lack is None:
                region.uses.put(image, found[image], min(began, at))
        return found

    def _scaling(
        self, name: str, region: _Region, since: float
    ) -> tuple[dict[str, tuple[str, ...]], float]:
        """What groups name, and since when that is known: one read serves a whole sweep."""
        if region.scaling[1] < since:
            began = self._clock()
            region.scaling = (usage.scaling(self._sessions.autoscaling(name)), began)
        return region.scaling


def _lack(error: BaseException, region: str) -> Problem:
    told = errors.problem(error, "asking what uses an AMI", region)
    return replace(told, message=errors.lasting(told.message))
