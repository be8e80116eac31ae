"""Reads the lists of accounts that ImageShares name: ConfigMaps, SSM parameters, Organizations."""

import threading
from collections.abc import Callable, Iterable, Mapping

from gilder.api.imageshare import AccountList
from gilder.aws import errors
from gilder.core.declared import Listing, accounts_in
from gilder.core.observed import Problem
from gilder.core.shares import Share
from gilder.reconcile.ports import ClusterError, ConfigMaps

# (Region, names, not older than) to what the parameters say; "" for one that is not there.
Parameters = Callable[[str, frozenset[str], float], Mapping[str, str | Problem]]
# The accounts of an organization or OU by its ARN; raises what AWS says.
Expand = Callable[[str], frozenset[str]]
# Whether a namespace may take accounts from a list, else why not.
Permit = Callable[[str, AccountList], Problem | None]


class Lists:
    """Listings by source, each read once for all who ask at the same time."""

    def __init__(
        self, maps: ConfigMaps, parameters: Parameters, expand: Expand, now: Callable[[], float]
    ) -> None:
        self._maps = maps
        self._parameters = parameters
        self._expand = expand
        self._now = now
        self._lock = threading.Lock()
        self._organizations: dict[str, tuple[Listing, float]] = {}

    def read(self, share: Share, since: float, permit: Permit) -> dict[str, Listing]:
        """What the lists of a share say, by AccountList.source; raises nothing."""
        return {
            one.source: permit(share.namespace, one) or self._one(share.namespace, one, since)
            for one in share.spec.accounts_from
        }

    def forget_organizations(self) -> None:
        """Accounts were moved, made or closed."""
        with self._lock:
            self._organizations.clear()

    def _one(self, namespace: str, one: AccountList, since: float) -> Listing:
        if one.config_map is not None:
            return self._config_map(namespace, one)
        if one.ssm_parameter is not None:
            return self._parameter(one, since)
        arn = one.organization or one.organizational_unit or ""
        return self._members(one, arn, since)

    def _config_map(self, namespace: str, one: AccountList) -> Listing:
        assert one.config_map is not None
        name, key = one.config_map.name, one.config_map.key
        field = f"spec.accountsFrom: {one.source}"
        try:
            data = self._maps.read(namespace, name)
        except ClusterError as error:
            return Problem("ListUnreadable", f"{field}: {error}", permanent=False)
        if data is None:
            return Problem(
                "ListNotFound",
                f"{field}: namespace {namespace} has no ConfigMap {name} with the label "
                'goldenimage.dev/accounts: "true". Create or label it; until then the accounts '
                "last listed stay",
            )
        if key not in data:
            return Problem(
                "ListNotFound", f"{field}: the ConfigMap has no key {key}. Correct the field or it"
            )
        return accounts_in(data[key], one.source)

    def _parameter(self, one: AccountList, since: float) -> Listing:
        assert one.ssm_parameter is not None
        name, region = one.ssm_parameter.name, one.ssm_parameter.region
        found = self._parameters(region, frozenset({name}), since).get(name, "")
        field = f"spec.accountsFrom: {one.source}"
        if isinstance(found, Problem):
            told = errors.lasting(found.message)
            return Problem("ListUnreadable", f"{field}: {told}", False, region)
        if not found:
            return Problem(
                "ListNotFound", f"{field}: there is no such parameter. Create it or correct the "
                "field", region=region,
            )  # fmt: skip
        return accounts_in(found, one.source)

    def _members(self, one: AccountList, arn: str, since: float) -> Listing:
        with self._lock:
            known = self._organizations.get(arn)
            if known is not None and known[1] >= since:
                return known[0]
            began = self._now()
            found: Listing
            try:
                found = tuple(sorted(self._expand(arn)))
            except errors.AWS_ERRORS as error:
                told = errors.lasting(errors.problem(error, f"listing accounts of {arn}").message)
                found = Problem(
                    "ListUnreadable",
                    f"spec.accountsFrom: {one.source}: {told}. AWS Organizations answers the "
                    "management account and delegated administrators: see organizations in the "
                    "operator's access file",
                    permanent=False,
                )
            self._organizations[arn] = (found, began)
            return found

    def keep(self, arns: Iterable[str]) -> None:
        """Forget organizations that nobody asks for any more."""
        wanted = set(arns)
        with self._lock:
            self._organizations = {a: v for a, v in self._organizations.items() if a in wanted}
