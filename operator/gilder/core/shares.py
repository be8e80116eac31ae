"""ImageShares as plans see them, and which AMIs each of them selects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from gilder.api.imageshare import ImageShareSpec, ImageShareStatus, ListedAccounts
from gilder.api.names import TAG_CLUSTER, TAG_IMAGE
from gilder.core import pool
from gilder.core.gating import shut
from gilder.core.observed import NOBODY, Image, Observed, Principals, Problem, RegionView
from gilder.core.promotion import held

Place = tuple[str, str]  # Region, AMI id
KeyPlace = tuple[str, str]  # Region, key ARN
# Key -> name -> operations that shares of other AMIs need. A name is a grantee (core.grants) or
# what a key policy lets in (core.statements).
Claims = Mapping[KeyPlace, Mapping[str, frozenset[str]]]
NO_CLAIMS: Claims = {}


@dataclass(frozen=True, slots=True)
class Gilded:
    """What a share needs to know of a GoldenImage. `latest` is 0 before the first version.

    `account` is "" for the operator's own.
    """

    key: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    latest: int = 0
    deleting: bool = False
    held: frozenset[int] = frozenset()  # versions that have not passed their gates
    unreleased: frozenset[int] = frozenset()  # versions that never were released
    candidate: int = 0  # the version that is on its way, 0 for none
    test_accounts: frozenset[str] = frozenset()  # that candidates may be shared with
    account: str = ""
    allowed_namespaces: tuple[str, ...] = ()
    unreadable: bool = False  # no model accepts its spec: nothing is known of it
    barred: Problem | None = None  # why its namespace may not use its account

    def admits(self, namespace: str) -> bool:
        """Whether ImageShares of a namespace may share this image."""
        return namespace == self.namespace or any(
            fnmatchcase(namespace, p) for p in self.allowed_namespaces
        )


@dataclass(frozen=True, slots=True)
class Share:
    """One ImageShare. `recorded` is what its status says is ours, by AMI.

    `declared`, and what follows it, is worked out by core.declared before a plan is made; without
    it the spec's own lists are what is declared.
    """

    key: str
    namespace: str
    spec: ImageShareSpec
    recorded: Mapping[Place, Principals] = field(default_factory=dict)
    recorded_keys: frozenset[KeyPlace] = frozenset()  # with grants of ours
    recorded_policies: frozenset[KeyPlace] = frozenset()  # with a statement of ours
    recorded_volumes: frozenset[Place] = frozenset()  # AMIs whose snapshots are shared too
    leaving: bool = False  # being deleted: it declares nothing any more
    paused: bool = False  # by annotation
    unreadable: str = ""  # why its spec cannot be read: it declares what it has recorded
    part: str = ""  # the account whose AMIs are planned; "": the operator's own
    homes: Mapping[Place, str] = field(default_factory=dict)  # recorded AMIs of other accounts
    key_homes: Mapping[KeyPlace, str] = field(default_factory=dict)  # and keys seen from there
    plain_account: str = ""  # of the AMIs that spec.imageRef.images names
    listed: tuple[ListedAccounts, ...] = ()  # what its lists said last
    declared: Principals | None = None
    refused: tuple[Problem, ...] = ()  # what may not be declared
    uncertain: bool = False  # a list was never read: nobody is a stranger until it has been
    expiring: tuple[tuple[str, str], ...] = ()  # temporary principal and its RFC 3339 end
    wake: float | None = None  # seconds until the next of these
    may_edit_policies: bool = True
    may_share_plain: bool = True  # AMIs that no GoldenImage owns
    barred: Problem | None = None  # why AMIs by id may not be shared from their account

    @property
    def passive(self) -> bool:
        """Nothing is changed in AWS for its sake, though what it declares may stay."""
        return self.paused or self.spec.suspend or self.spec.management_policy == "Observe"

    @property
    def principals(self) -> Principals:
        if self.unreadable and self.declared is None:
            total = NOBODY
            for ours in self.recorded.values():
                total |= ours
            return total
        return self.declared if self.declared is not None else written(self.spec)

    @property
    def source_namespace(self) -> str:
        """Of the GoldenImages it refers to."""
        return self.spec.image_ref.namespace or self.namespace

    @property
    def edits_policies(self) -> bool:
        return self.spec.kms.edits_policy and self.may_edit_policies


def written(spec: ImageShareSpec) -> Principals:
    """The principals that a spec names itself, without lists and temporary ones."""
    return Principals(
        frozenset(spec.accounts),
        frozenset(spec.organizations),
        frozenset(spec.organizational_units),
        spec.public and spec.confirm_public,
    )


def last_listed(status: ImageShareStatus) -> tuple[ListedAccounts, ...]:
    """What a share's lists said last; not those that were never read."""
    return tuple(one for one in status.lists if one.accounts or one.problem is None)


def recorded(status: ImageShareStatus) -> dict[Place, Principals]:
    """Principals that a share's status claims, by AMI."""
    return {
        pool.one((i.region, i.image_id)): pool.one(
            Principals(
                pool.names(i.accounts),
                pool.names(i.organizations),
                pool.names(i.organizational_units),
                i.public,
            )
        )
        for i in status.images
    }


@dataclass(frozen=True, slots=True)
class Target:
    """An AMI that a share selects; `image` is None while it is not there to be shared."""

    region: str
    image_id: str
    image: Image | None
    golden: str | None = None
    version: int | None = None
    account: str = ""  # the part it is planned in

    @property
    def place(self) -> Place:
        return (self.region, self.image_id)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The AMIs of one share, or why they are not known (yet)."""

    targets: tuple[Target, ...] = ()
    problems: tuple[Problem, ...] = ()
    waiting: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()  # nothing is selected, and that is certain
    refused: tuple[Problem, ...] = ()  # may not be shared, and that is certain
    # Recorded AMIs whose GoldenImage has shut the namespace out: nothing of them is kept.
    shut_out: frozenset[Place] = frozenset()

    @property
    def complete(self) -> bool:
        return not self.problems and not self.waiting


def selects(share: Share, golden: Gilded) -> bool:
    """Whether the share's imageRef names or selects this GoldenImage, let in by it or not."""
    ref = share.spec.image_ref
    if golden.namespace != share.source_namespace:
        return False
    if ref.name is not None:
        return ref.name == golden.name
    # A selector lets go of an image that is being deleted; a name holds it until the share goes.
    chosen = ref.selector is not None and ref.selector.matches(dict(golden.labels))
    return chosen and not golden.deleting


def resolve(
    share: Share,
    goldens: Sequence[Gilded],
    seen: Observed,
    cluster: str,
    regions: Mapping[str, frozenset[str]],
) -> Resolution:
    """As `_selection`, with the recorded AMIs that the share may not keep."""
    found = _selection(share, goldens, seen, cluster, regions)
    shut_out = _shut_out_of(share, goldens, seen, cluster)
    return replace(found, shut_out=shut_out) if shut_out else found


def _shut_out_of(
    share: Share, goldens: Sequence[Gilded], seen: Observed, cluster: str
) -> frozenset[Place]:
    """The owner of an image may change his mind, whatever becomes of the share meanwhile."""
    strict = {g.key for g in goldens if not g.unreadable and not g.admits(share.namespace)}
    if not strict or share.leaving:
        return frozenset()
    found = ((p, seen.region(p[0]).images.get(p[1])) for p in share.recorded)
    return frozenset(p for p, i in found if i is not None and _owner_of(i, cluster) in strict)


def _selection(
    share: Share,
    goldens: Sequence[Gilded],
    seen: Observed,
    cluster: str,
    regions: Mapping[str, frozenset[str]],
) -> Resolution:
    """The AMIs the share selects in its part: the Regions of one account that were observed.

    `regions` maps a GoldenImage's key to the Regions its AMIs may be in. Per Region, `Latest` is
    the newest available version up to the latest one, so that a Region whose copy is still under
    way keeps the version it has.
    """
    if share.leaving:
        return Resolution()
    if share.unreadable:
        return Resolution(problems=(Problem("InvalidSpec", share.unreadable),))
    if share.spec.image_ref.images:
        return _plain(share, goldens, seen, cluster)
    spec = share.spec
    wanted = frozenset(spec.regions)
    targets: list[Target] = []
    problems: list[Problem] = []
    waiting: list[str] = []
    refused: list[Problem] = []
    idle: tuple[str, ...] = ()
    selected = [g for g in goldens if selects(share, g)]
    if spec.image_ref.name is not None and not selected:
        there = f"{share.source_namespace}/{spec.image_ref.name}"
        waiting.append(f"GoldenImage {there} to be created")
    let_in = [g for g in selected if g.unreadable or g.admits(share.namespace)]
    if spec.image_ref.selector is not None and not let_in:
        # Known for certain, unlike a name that may appear: what was selected before is let go.
        idle = ("a GoldenImage that spec.imageRef.selector selects",)
        if share.source_namespace != share.namespace:
            idle = (f"{idle[0]} and whose spec.allowedNamespaces has {share.namespace}",)
    for golden in selected:
        if golden.unreadable:
            waiting.append(f"GoldenImage {golden.key} to have a valid spec")
            continue
        if not golden.admits(share.namespace):
            # By its label it is not selected, nor named: the names of others are theirs.
            if spec.image_ref.name is not None:
                refused.append(_shut_out(share, golden))
            continue
        if golden.barred is not None:
            refused.append(golden.barred)
            continue
        if golden.account != share.part:
            continue
        if lack := _not_for_tests(share, golden):
            refused.append(lack)
            continue
        if not (golden.latest or (golden.candidate and _early(share))):
            waiting.append(f"GoldenImage {golden.key} to have a version")
            continue
        for region in sorted(regions.get(golden.key, frozenset())):
            if wanted and region not in wanted:
                continue
            view = seen.region(region)
            if view.problem:
                problems.append(view.problem)
                continue
            found = _versions(share, golden, view, seen.account, cluster)
            if not found:
                waiting.append(f"GoldenImage {golden.key} to be available in {region}")
            targets += found
    missing = wanted - {r for g in let_in for r in regions.get(g.key, frozenset())}
    if let_in and missing and all(g.latest or g.candidate for g in let_in):
        problems.append(
            Problem(
                "RegionNotReplicated",
                f"spec.regions: {', '.join(sorted(missing))} is neither the home Region nor a "
                "replica of the image. Add it to spec.replicas of the GoldenImage or remove it",
            )
        )
    return Resolution(
        tuple(targets), tuple(dict.fromkeys(problems)), tuple(waiting), idle, tuple(refused)
    )


def _early(share: Share) -> bool:
    """Whether a share has versions before they are released."""
    return share.spec.versions.select == "Candidate"


def _not_for_tests(share: Share, golden: Gilded) -> Problem | None:
    """Why a share may not have candidates: who is not named for tests waits for the release."""
    if not _early(share):
        return None
    who = share.principals
    strangers = who - Principals(golden.test_accounts)
    if not strangers:
        return None
    return Problem(
        "CandidateNotAllowed",
        f"spec.versions.select: Candidate is for accounts in spec.promotion.testAccounts of "
        f"GoldenImage {golden.key}, and {', '.join(strangers.names())} is not there. Add it there, "
        "or take it from this ImageShare",
    )


def _shut_out(share: Share, golden: Gilded) -> Problem:
    return Problem(
        "NamespaceNotAllowed",
        f"spec.imageRef: GoldenImage {golden.key} does not let ImageShares of namespace "
        f"{share.namespace} share it. Add {share.namespace} to spec.allowedNamespaces of the "
        "GoldenImage, or refer to another",
    )


def _plain(share: Share, goldens: Sequence[Gilded], seen: Observed, cluster: str) -> Resolution:
    """AMIs by id. One that belongs to a GoldenImage is shared as that allows."""
    ref = share.spec.image_ref
    if share.plain_account != share.part:
        return Resolution()
    if share.barred is not None:
        return Resolution(refused=(share.barred,))
    wanted = frozenset(share.spec.regions)
    by_key = {g.key: g for g in goldens}
    targets: list[Target] = []
    problems: list[Problem] = []
    refused: list[Problem] = []
    if ref.account is not None and seen.account and ref.account != seen.account:
        return Resolution(
            problems=(
                Problem(
                    "WrongAccount",
                    f"spec.imageRef.account: the operator has no credentials for {ref.account} "
                    f"(its own are of {seen.account}). Correct the field, or have the account "
                    "added to the operator's access file",
                ),
            )
        )
    for plain in ref.images:
        if wanted and plain.region not in wanted:
            continue
        view = seen.region(plain.region)
        image = view.images.get(plain.id)
        if view.problem:
            problems.append(view.problem)
        elif image is None or image.owner != seen.account:
            problems.append(
                Problem(
                    "ImageNotFound",
                    f"spec.imageRef.images: {plain.id} is not an AMI of account {seen.account} in "
                    f"{plain.region}. Correct the id or the Region",
                    region=plain.region,
                )
            )
        elif lack := _not_ours(share, image, by_key, cluster):
            # Of a GoldenImage that is not known here nobody can say whom it lets in.
            (refused if _known_owner(image, by_key, cluster) else problems).append(lack)
        elif held(image):
            problems.append(
                Problem(
                    "NotReleased",
                    f"spec.imageRef.images: {plain.id} in {plain.region} is of a version that is "
                    "not released. Wait until it is, or refer to its GoldenImage with "
                    "versions.select: Candidate",
                    permanent=False,
                    region=plain.region,
                )
            )
        elif shut(image):
            problems.append(
                Problem(
                    "GateNotPassed",
                    f"spec.imageRef.images: {plain.id} in {plain.region} has not passed its gates. "
                    "Wait until it has, or name another AMI",
                    permanent=False,
                    region=plain.region,
                )
            )
        else:
            targets.append(Target(plain.region, plain.id, image, account=share.part))
    return Resolution(
        tuple(targets), tuple(dict.fromkeys(problems)), refused=tuple(dict.fromkeys(refused))
    )


def _owner_of(image: Image, cluster: str) -> str:
    """The GoldenImage that an AMI belongs to by its tags; "" for none of this cluster."""
    return image.tags.get(TAG_IMAGE, "") if image.tags.get(TAG_CLUSTER) == cluster else ""


def _known_owner(image: Image, goldens: Mapping[str, Gilded], cluster: str) -> bool:
    owner = _owner_of(image, cluster)
    golden = goldens.get(owner)
    return not owner or (golden is not None and not golden.unreadable)


def _not_ours(
    share: Share, image: Image, goldens: Mapping[str, Gilded], cluster: str
) -> Problem | None:
    """Why an AMI may not be shared by its id from this namespace."""
    owner = _owner_of(image, cluster)
    where = f"spec.imageRef.images: {image.id} in {image.region}"
    if owner:
        namespace = owner.split("/", 1)[0]
        golden = goldens.get(owner)
        let_in = golden.admits(share.namespace) if golden else namespace == share.namespace
        if let_in:
            return None
        return Problem(
            "NamespaceNotAllowed",
            f"{where} belongs to GoldenImage {owner}. Add {share.namespace} to "
            "spec.allowedNamespaces of it, or name another AMI",
            region=image.region,
        )
    if share.may_share_plain:
        return None
    return Problem(
        "PlainImagesNotAllowed",
        f"{where} belongs to no GoldenImage, and namespace {share.namespace} may not share such "
        "AMIs. Make a GoldenImage that adopts it, or have plainImages allowed in the operator's "
        "access file",
        region=image.region,
    )


def _versions(
    share: Share, golden: Gilded, view: RegionView, account: str, cluster: str
) -> list[Target]:
    there: dict[int, Image] = {}
    # Per version the last attempt (a copy under a changed key is one), and of that the oldest.
    mine = view.belonging(cluster, golden.key, account)
    for image in sorted(mine, key=lambda i: (-i.attempt, i.created, i.id)):
        newest = max(golden.latest, golden.candidate) if _early(share) else golden.latest
        usable = image.available and 0 < image.version <= newest
        released = not shut(image) and image.version not in golden.held
        if not _early(share):
            released = released and not held(image) and image.version not in golden.unreleased
        if usable and image.role in ("home", "replica") and released:
            there.setdefault(image.version, image)
    newest_first = sorted(there, reverse=True)
    select = share.spec.versions.select
    count = {"All": None, "Newest": share.spec.versions.count}.get(select, 1)
    return [
        Target(view.region, there[v].id, there[v], golden.key, v, share.part)
        for v in newest_first[:count]
    ]


def access_needs(
    share: Share,
    goldens: Sequence[Gilded],
    regions: Mapping[str, frozenset[str]],
    seen: Observed,
    cluster: str,
) -> tuple[frozenset[Place], frozenset[KeyPlace]]:
    """AMIs whose launch permissions, and keys whose grants, the plan of this share looks at."""
    targets = resolve(share, goldens, seen, cluster, regions).targets
    places = frozenset(t.place for t in targets) | share.recorded.keys()
    return frozenset(places), share.recorded_keys | share.recorded_policies
