"""What is known of the places in one Region that released versions are told in, with its ages.

Whose parameters are is read once per Region and sweep, by the tag of the cluster. That listing also
tells which values have changed since, so that all others need not be read again.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from botocore.exceptions import ClientError

from gilder.aws import errors, parameters, templates
from gilder.aws.parameters import Head
from gilder.aws.remembered import NEVER, Remembered
from gilder.aws.sessions import Sessions
from gilder.core.actions import (
    PUBLISHING,
    AnyAction,
    DeleteParameter,
    PruneTemplateVersions,
    PutParameter,
    ReleaseParameter,
    SetTemplateImage,
)
from gilder.core.observed import Problem
from gilder.core.published import Parameter, Template, TemplateVersion
from gilder.core.templates import KEEP

V = TypeVar("V")

FEW = 10  # launch templates up to which each is asked for by itself, not all of the Region
VERSIONS_AGE = 3600.0  # seconds that the versions of a template are remembered
OWNERS_AGE = 300.0  # seconds that the tags of a parameter no listing has are remembered
GROUPS_AGE = 60.0  # seconds that what Auto Scaling groups name is remembered

Read = Callable[[frozenset[str], float], dict[str, str | Problem]]


class PublishView:
    """Of one Region of one account. `values` are its SSM parameters, which others read too.

    Not safe for several threads but for `touched`; whoever reads holds the lock of the Region.
    """

    def __init__(
        self,
        region: str,
        values: "Remembered[str, str | Problem]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._region = region
        self._values = values
        self._clock = clock
        self._listed_at = NEVER
        self._heads: dict[str, Head] = {}
        self.types: dict[str, str] = {}  # of parameters as last read: parameters.other
        self._owners: Remembered[str, str] = Remembered()  # where the listing does not tell
        self._lack: Problem | None = None
        self._index: dict[str, tuple[str, ...]] = {}
        self._templates: Remembered[str, Template] = Remembered()
        self._versions: Remembered[tuple[str, int], tuple[TemplateVersion, ...]] = Remembered()
        self._groups: Remembered[str, dict[str, frozenset[int]]] = Remembered()

    def parameters(
        self,
        sessions: Sessions,
        cluster: str,
        names: frozenset[str],
        since: float,
        read: Read,
        *,
        whole: bool,
    ) -> tuple[dict[str, Parameter | Problem], dict[str, tuple[str, ...]]]:
        """Parameters that exist, by name, and names of ours by GoldenImage.

        `whole`: a sweep, for which whose parameters are is read anew.
        """
        if not names:
            return {}, {}
        stale = since if whole or self._lack else NEVER
        if self._listed_at < stale or self._listed_at == NEVER:
            self._list(sessions, cluster)
        if self._lack is not None:
            return dict.fromkeys(names, self._lack), {}
        found: dict[str, Parameter | Problem] = {}
        for name, value in read(names, since).items():
            if isinstance(value, Problem):
                found[name] = value
            elif value:
                whose = self._owner(sessions, cluster, name, since)
                other = self.types.get(name, "")
                found[name] = (
                    whose if isinstance(whose, Problem) else Parameter(name, value, whose, other)
                )
        return found, self._index

    def _list(self, sessions: Sessions, cluster: str) -> None:
        began = self._clock()
        try:
            heads = parameters.tagged(sessions.ssm(self._region), cluster)
            self._lack = None
        except errors.AWS_ERRORS as error:
            self._lack = errors.problem(error, "listing SSM parameters", self._region)
            self._listed_at = began
            return
        for name, head in heads.items():
            before = self._heads.get(name)
            if before is not None and before.stamp == head.stamp:
                # Read after the former listing, in which it was as it is now.
                value = self._values.get(name, self._listed_at)
                if value is not None:
                    self._values.put(name, value, began)
        self._heads, self._listed_at = heads, began
        self._index = parameters.by_owner(heads.values())
        self._owners.keep(())

    def _owner(self, sessions: Sessions, cluster: str, name: str, since: float) -> str | Problem:
        head = self._heads.get(name)
        if head is not None and head.owner:
            return head.owner
        # Made by hand or by somebody else, or by us so lately that no listing has it.
        known = self._owners.get(name, since)
        if known is None:
            # Asked once more before anything is written (parameters.put), so it may be older. That
            # it is nobody's is asked anew, since people hand parameters over by tags.
            known = self._owners.get(name, self._clock() - OWNERS_AGE) or None
        if known is not None:
            return known
        began = self._clock()
        try:
            found = parameters.owner(sessions.ssm(self._region), name, cluster)
        except ClientError as error:
            if errors.code(error) != "InvalidResourceId":
                return errors.problem(error, f"reading tags of parameter {name}", self._region)
            found = ""
        except errors.AWS_ERRORS as error:
            return errors.problem(error, f"reading tags of parameter {name}", self._region)
        return self._owners.put(name, found, began)

    def templates(
        self,
        sessions: Sessions,
        wanted: frozenset[str],
        whole_versions: frozenset[str],
        since: float,
    ) -> dict[str, Template | Problem]:
        """Launch templates as written, with the versions that may be too many."""
        found: dict[str, Template | Problem] = {
            w: t for w in wanted if (t := self._templates.get(w, since)) is not None
        }
        left = sorted(wanted - found.keys())
        if left:
            found |= self._read(sessions, left)
        return {
            w: self._with_versions(sessions, t, must=w in whole_versions)
            if isinstance(t, Template) and t.id
            else t
            for w, t in found.items()
        }

    def _read(self, sessions: Sessions, left: Iterable[str]) -> dict[str, Template | Problem]:
        ec2, some, began = sessions.ec2(self._region), list(left), self._clock()
        found: dict[str, Template | Problem] = {}
        try:
            if len(some) > FEW:
                every = templates.defaults(ec2)
                fresh = {w: every.get(w, templates.NO_TEMPLATE) for w in some}
            else:
                fresh = {w: templates.default(ec2, w) for w in some}
        except errors.AWS_ERRORS as error:
            lack = errors.problem(error, "reading launch templates", self._region)
            return dict.fromkeys(some, lack)
        for written, template in fresh.items():
            found[written] = self._templates.put(written, template, began)
        return found

    def _with_versions(
        self, sessions: Sessions, template: Template, *, must: bool
    ) -> Template | Problem:
        """With what of it may be pruned; the Auto Scaling groups are read only if something may."""
        number = template.default.number
        if number <= KEEP + 1 and not must:
            return template
        began = self._clock()
        try:
            key = (template.id, number)
            known = self._versions.get(key, began - VERSIONS_AGE)
            if known is None:
                read = templates.versions(sessions.ec2(self._region), template.id)
                known = self._versions.put(key, read, began)
            whole = replace(template, versions=known)
            if len(known) <= KEEP and not must:
                return whole
            groups = self._groups.get("", began - GROUPS_AGE)
            if groups is None:
                asked = templates.named_by_groups(sessions.autoscaling(self._region))
                groups = self._groups.put("", asked, began)
        except errors.AWS_ERRORS as error:
            doing = f"reading versions of launch template {template.id}"
            return errors.problem(error, doing, self._region)
        return replace(whole, named=groups.get(template.id, frozenset()))

    def touched(self, action: AnyAction) -> None:
        """What this action changed is read anew when somebody asks next."""
        match action:
            case PutParameter() | DeleteParameter() | ReleaseParameter():
                if action.account:
                    return  # on another account's view
                self._values.expire(action.name, self._clock())
                self._owners.expire(action.name, self._clock())
                # Whose it is is asked of its tags until it is listed in its turn.
                self._heads = {n: h for n, h in self._heads.items() if n != action.name}
                self._index = parameters.by_owner(self._heads.values())
            case SetTemplateImage() | PruneTemplateVersions():
                for written in self._templates.keys_where(lambda t: t.id == action.template):
                    self._templates.expire(written, self._clock())
                for key in self._versions.keys_where(lambda _: True):
                    if key[0] == action.template:
                        self._versions.expire(key, self._clock())
            case _:
                pass


def publishes(action: AnyAction) -> bool:
    """Whether an action changes nothing that other views look at."""
    return isinstance(action, PUBLISHING)
