"""Faults on demand: throttling, errors, denials, dead Regions, lost answers and hooks."""

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gilder.sandbox.aws.counting import CallKey
from gilder.sandbox.aws.errors import QUERY_SERVICES
from gilder.sandbox.aws.staleness import Stale


@dataclass(frozen=True)
class Answer:
    """What a fault gives instead of the real answer; `drop` closes the connection."""

    code: str = ""
    message: str = ""
    status: int = 400
    drop: bool = False
    raw: bytes | None = None  # a body that is no answer of AWS


@dataclass(frozen=True)
class Caller:
    """Who makes a call; `role` is the ARN of the role whose session it is."""

    arn: str = ""
    role: str | None = None

    def is_role(self, wanted: str) -> bool:
        """By ARN, or by name in any account."""
        return self.role is not None and wanted in (self.role, self.role.rpartition("/")[2])


Hook = Callable[[CallKey], None]
NOBODY = Caller()


@dataclass(eq=False)
class Fault:
    """One armed fault. `hits` counts how often it bit; `remove()` disarms it."""

    pattern: re.Pattern[str]
    region: str | None
    account: str | None
    role: str | None
    times: int | None
    rate: float
    answer: Callable[[CallKey, Caller], Answer | None] | None = None
    hook: Hook | None = None
    after_effect: bool = False
    hits: int = 0
    _owner: "Faults | None" = field(default=None, repr=False)

    def remove(self) -> None:
        if self._owner is not None:
            self._owner.discard(self)

    def matches(self, key: CallKey, caller: Caller = NOBODY) -> bool:
        if self.region not in (None, key.region) or self.account not in (None, key.account):
            return False
        if self.role is not None and not caller.is_role(self.role):
            return False
        qualified = f"{key.service}:{key.action}"
        return bool(self.pattern.fullmatch(key.action) or self.pattern.fullmatch(qualified))


class Faults:
    """The faults in force. An action is a regular expression for `CopyImage` or `ec2:CopyImage`.

    `account` is the one that a call acts in, for a session the one of its role; `role` is the ARN
    or the name of that role. AssumeRole itself is a call of the account that asks for it.
    """

    def __init__(self, seed: int = 7) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._random = random.Random(seed)
        # Seconds that DescribeImages lags behind CreateImage, CopyImage and RegisterImage.
        self.lag: float = 0.0
        self.stale = Stale()

    def throttle(
        self,
        times: int | None = None,
        action: str = ".*",
        *,
        rate: float = 1.0,
        region: str | None = None,
        account: str | None = None,
        role: str | None = None,
    ) -> Fault:
        """Throttle the next `times` calls, or the share `rate` of all calls."""
        return self._add(action, region, account, times, rate, role=role, answer=_throttled)

    def fail(
        self,
        action: str,
        code: str,
        message: str = "Injected by the sandbox.",
        times: int | None = 1,
        *,
        status: int = 400,
        region: str | None = None,
        account: str | None = None,
        role: str | None = None,
        rate: float = 1.0,
    ) -> Fault:
        """Answer the next `times` calls (None: all), or the share `rate` of all calls, with an
        error, without effect."""
        answer = Answer(code, message, status)
        return self._add(action, region, account, times, rate, role=role, answer=lambda *_: answer)

    def deny(
        self,
        action: str,
        *,
        region: str | None = None,
        account: str | None = None,
        role: str | None = None,
    ) -> Fault:
        """Answer as IAM does when the caller's policies do not allow the action."""
        return self._add(action, region, account, None, 1.0, role=role, answer=_denied)

    def timeout_after_effect(
        self,
        action: str,
        times: int | None = 1,
        *,
        region: str | None = None,
        account: str | None = None,
        drop: bool = True,
        rate: float = 1.0,
    ) -> Fault:
        """Let the call take effect and lose its answer: drop the connection, or send a 500."""
        lost = Answer("InternalError", "An internal error has occurred", 500, drop=drop)
        return self._add(
            action, region, account, times, rate, answer=lambda *_: lost, after_effect=True
        )

    def garble(
        self,
        body: bytes,
        action: str = ".*",
        times: int | None = None,
        *,
        rate: float = 1.0,
        status: int = 200,
    ) -> Fault:
        """Let the call take effect, and answer with `body`, which may be no answer at all."""
        nonsense = Answer("", "", status, raw=body)
        return self._add(
            action, None, None, times, rate, answer=lambda *_: nonsense, after_effect=True
        )

    def region_down(self, region: str, *, drop: bool = False) -> Fault:
        """Fail every call to a Region: 503, or a closed connection."""
        down = Answer("ServiceUnavailable", "Service is unavailable.", 503, drop=drop)
        return self._add(".*", region, None, None, 1.0, answer=lambda *_: down)

    def account_down(self, account: str, *, drop: bool = False) -> Fault:
        """Fail every call that acts in an account: 503, or a closed connection."""
        down = Answer("ServiceUnavailable", "Service is unavailable.", 503, drop=drop)
        return self._add(".*", None, account, None, 1.0, answer=lambda *_: down)

    def latency(
        self,
        seconds: float,
        action: str = ".*",
        *,
        region: str | None = None,
        account: str | None = None,
    ) -> Fault:
        """Delay calls."""
        return self._add(action, region, account, None, 1.0, hook=lambda _: time.sleep(seconds))

    def before(self, action: str, callback: Hook, times: int | None = None) -> Fault:
        """Run `callback(key)` before a call takes effect; it may itself call AWS."""
        return self._add(action, None, None, times, 1.0, hook=callback)

    def after(self, action: str, callback: Hook, times: int | None = None) -> Fault:
        """Run `callback(key)` after a call took effect, before its answer is sent."""
        return self._add(action, None, None, times, 1.0, hook=callback, after_effect=True)

    def cut(self, action: str, callback: Callable[[CallKey], bool]) -> Fault:
        """Where `callback(key)` says so, drop the connection before the call takes effect.

        It must not call AWS.
        """
        lost = Answer("InternalError", "An internal error has occurred", 500, drop=True)
        return self._add(
            action, None, None, None, 1.0, answer=lambda key, _: lost if callback(key) else None
        )

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self.lag = 0.0
            self.stale.reset()

    def discard(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)

    def apply(self, key: CallKey, *, after_effect: bool, caller: Caller = NOBODY) -> Answer | None:
        """Run the hooks for a call and return the first error that applies."""
        hooks: list[Hook] = []
        answer: Answer | None = None
        with self._lock:
            for fault in list(self._faults):
                if fault.after_effect is not after_effect or not fault.matches(key, caller):
                    continue
                if answer is not None and fault.answer is not None:
                    continue
                if fault.rate < 1.0 and self._random.random() >= fault.rate:
                    continue
                fault.hits += 1
                if fault.times is not None and fault.hits >= fault.times:
                    self._faults.remove(fault)
                if fault.hook is not None:
                    hooks.append(fault.hook)
                if fault.answer is not None:
                    answer = fault.answer(key, caller)
        # Outside of the lock: a hook may call AWS, and so come back here.
        for hook in hooks:
            hook(key)
        return answer

    def _add(
        self,
        action: str,
        region: str | None,
        account: str | None,
        times: int | None,
        rate: float,
        *,
        role: str | None = None,
        answer: Callable[[CallKey, Caller], Answer | None] | None = None,
        hook: Hook | None = None,
        after_effect: bool = False,
    ) -> Fault:
        fault = Fault(
            re.compile(action), region, account, role, times, rate, answer, hook, after_effect
        )
        fault._owner = self
        with self._lock:
            self._faults.append(fault)
        return fault


def _throttled(key: CallKey, _: Caller) -> Answer:
    # https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    if key.service == "ec2":
        return Answer("RequestLimitExceeded", "Request limit exceeded.", 503)
    if key.service in QUERY_SERVICES:
        return Answer("Throttling", "Rate exceeded", 400)
    return Answer("ThrottlingException", "Rate exceeded", 400)


def _denied(key: CallKey, caller: Caller) -> Answer:
    user = caller.arn or f"arn:aws:iam::{key.account}:user/sandbox"
    if key.service == "ec2":
        return Answer(
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. "
            f"User: {user} is not authorized to perform: ec2:{key.action}",
            403,
        )
    message = f"User: {user} is not authorized to perform: {key.service}:{key.action}"
    if key.service in QUERY_SERVICES:
        return Answer("AccessDenied", message, 403)
    return Answer("AccessDeniedException", message, 400)
