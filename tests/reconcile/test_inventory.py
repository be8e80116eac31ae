"""Scopes: a plan made with what relates to a share is the plan made with everything."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gilder.api import GoldenImage, ImageShare, parse_object
from gilder.core.needs import regions_of
from gilder.core.observed import (
    Grant,
    Image,
    ImageIndex,
    Key,
    Observed,
    Principals,
    RegionView,
)
from gilder.core.sharing import plan_share
from gilder.reconcile.engine import plan_scope
from gilder.reconcile.inventory import Inventory

ME, CLUSTER = "123456789012", "test"
HOME, DR = "eu-west-1", "us-east-1"
KEYS = {r: f"arn:aws:kms:{r}:{ME}:key/{n * 8}-0000-0000-0000-000000000000" for r, n in
        ((HOME, "1"), (DR, "2"))}  # fmt: skip
ACCOUNTS = ("222222222222", "333333333333", "444444444444")
NAMES = ("a", "b", "c")


def ami(name: str, region: str) -> str:
    return f"ami-{NAMES.index(name) + 1:08x}{'1' if region == HOME else '2'}"


def golden(name: str, labels: dict[str, str]) -> GoldenImage:
    images = [
        {"region": r, "imageId": ami(name, r), "role": role, "state": "available"}
        for r, role in ((HOME, "home"), (DR, "replica"))
    ]
    found = parse_object(
        {
            "apiVersion": "goldenimage.dev/v1alpha1",
            "kind": "GoldenImage",
            "metadata": {"name": name, "namespace": "n", "labels": labels},
            "spec": {
                "region": HOME,
                "source": {"image": {"id": ami(name, HOME)}},
                "encryption": {"kmsKeyId": KEYS[HOME]},
                "replicas": [{"region": DR, "kmsKeyId": KEYS[DR]}],
            },
            "status": {
                "latest": {"version": 1, "imageId": ami(name, HOME)},
                "versions": [{"version": 1, "fingerprint": name, "images": images}],
            },
        }
    )
    assert isinstance(found, GoldenImage)
    return found


def share(name: str, ref: dict[str, object], accounts: list[str], **spec: object) -> ImageShare:
    selected = NAMES if "selector" in ref else [ref["name"]]
    recorded = [
        {"region": r, "imageId": ami(str(i), r), "accounts": accounts, "kmsKeyId": KEYS[r]}
        for i in selected
        for r in (HOME, DR)
    ]
    grants = [
        {"region": r, "keyId": KEYS[r], "principal": a, "grantId": "g"}
        for r in (HOME, DR)
        for a in accounts
    ]
    found = parse_object(
        {
            "apiVersion": "goldenimage.dev/v1alpha1",
            "kind": "ImageShare",
            "metadata": {"name": name, "namespace": "n"},
            "spec": {"imageRef": ref, "accounts": accounts, **spec},
            "status": {"images": recorded, "grants": grants},
        }
    )
    assert isinstance(found, ImageShare)
    return found


def world(permissions: dict[str, list[str]], grants: dict[str, list[Grant]]) -> Observed:
    views = {}
    for region, role in ((HOME, "home"), (DR, "replica")):
        images = {
            ami(n, region): Image(
                id=ami(n, region),
                region=region,
                owner=ME,
                encrypted=True,
                kms_keys=frozenset({KEYS[region]}),
                tags={
                    "goldenimage.dev/image": f"n/{n}",
                    "goldenimage.dev/cluster": CLUSTER,
                    "goldenimage.dev/version": "1",
                    "goldenimage.dev/role": role,
                },
            )
            for n in NAMES
        }
        views[region] = RegionView(
            region,
            images=ImageIndex(images),
            permissions={i: Principals(frozenset(permissions.get(i, []))) for i in images},
            grants={KEYS[region]: tuple(grants.get(region, []))},
            keys={KEYS[region]: Key(KEYS[region], region)},
        )
    return Observed(ME, views)


REFS = st.one_of(
    st.sampled_from(NAMES).map(lambda n: {"name": n}),
    st.just({"selector": {"matchLabels": {"all": "yes"}}}),
)
SHARES = st.lists(
    st.tuples(
        REFS,
        st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=3),
        st.sampled_from(["Authoritative", "Additive"]),
        st.sampled_from([{"mode": "Grant"}, {"mode": "None"},
                         {"mode": "Grant", "operations": ["Decrypt", "CreateGrant"]}]),
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip
OPEN = st.dictionaries(
    st.sampled_from([ami(n, r) for n in NAMES for r in (HOME, DR)]),
    st.lists(st.sampled_from((*ACCOUNTS, "999999999999")), unique=True, max_size=3),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SHARES, OPEN, st.data())
def test_a_scope_holds_all_that_the_plan_depends_on(
    drawn: list,
    permissions: dict,
    data: st.DataObject,  # type: ignore[type-arg]
) -> None:
    inventory = Inventory(CLUSTER)
    goldens = [golden(n, {"all": "yes"}) for n in NAMES]
    shares = [
        share(f"s{n}", ref, accounts, mode=mode, kms=kms)
        for n, (ref, accounts, mode, kms) in enumerate(drawn)
    ]
    for one in goldens:
        inventory.put_image(one)
    for each in shares:
        inventory.put_share(each)
    # Put twice and dropped in between: the index must come out the same.
    again = data.draw(st.sampled_from(shares))
    inventory.drop_share(again.metadata.key)
    inventory.put_share(again)
    seen = world(permissions, {})
    everything = [inventory.share_scope(s.metadata.key).mine for s in shares]
    gilded = {g.key: g for s in shares for g in inventory.share_scope(s.metadata.key).goldens}
    regions = {g.metadata.key: regions_of(g.spec) for g in goldens}
    for mine in everything:
        scope = inventory.share_scope(mine.key)
        others = [o for o in everything if o.key != mine.key]
        whole = plan_share(mine, others, list(gilded.values()), regions, seen, CLUSTER)
        assert plan_scope(scope, seen, CLUSTER).plan.actions == whole.plan.actions


def test_what_has_nothing_to_do_with_a_share_stays_out_of_its_scope() -> None:
    inventory = Inventory(CLUSTER)
    for name in NAMES:
        inventory.put_image(golden(name, {}))
    inventory.put_share(share("one", {"name": "a"}, [ACCOUNTS[0]]))
    inventory.put_share(share("two", {"name": "b"}, [ACCOUNTS[1]]))
    scope = inventory.share_scope("n/one")
    assert scope.others == ()
    assert [g.key for g in scope.goldens] == ["n/a"]
    # Yet the other's grants on the common key are known, so that they are never revoked.
    assert set(scope.claims[(HOME, KEYS[HOME])]) == {ACCOUNTS[1]}
    inventory.drop_share("n/two")
    assert inventory.share_scope("n/one").claims == {}


def test_a_grant_that_an_unrelated_share_stands_on_is_not_revoked() -> None:
    inventory = Inventory(CLUSTER)
    for name in NAMES:
        inventory.put_image(golden(name, {}))
    inventory.put_share(share("one", {"name": "a"}, []))
    inventory.put_share(share("two", {"name": "b"}, [ACCOUNTS[1]]))
    made = plan_scope(inventory.share_scope("n/two"), world({}, {}), CLUSTER)
    grants: dict[str, list[Grant]] = {}
    for action in made.plan.actions:
        if action.kind == "CreateGrant":
            operations = frozenset(action.operations)  # type: ignore[union-attr]
            found = Grant("g", KEYS[action.region], action.name, action.principal, operations)  # type: ignore[union-attr]
            grants.setdefault(action.region, []).append(found)
    assert set(grants) == {HOME, DR}
    plan = plan_scope(inventory.share_scope("n/one"), world({}, grants), CLUSTER)
    assert [a for a in plan.plan.actions if a.kind == "RevokeGrant"] == []
    inventory.put_share(share("one", {"name": "a"}, [ACCOUNTS[0]]))
    inventory.drop_share("n/two")
    plan = plan_scope(inventory.share_scope("n/one"), world({}, grants), CLUSTER)
    assert len([a for a in plan.plan.actions if a.kind == "RevokeGrant"]) == 2
