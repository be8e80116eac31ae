"""Specs, statuses and annotations that a stranger wrote: some of what reliability/fuzz.py tries,
and what it has found."""

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hostilechecks import GOLDEN_BODY, POPULATED, check_object, judge_tag_values, judge_text, plan
from hostilevalues import (
    BUILD,
    IMAGE_SPECS,
    IMAGE_STATUS,
    JOB_TEMPLATE,
    SHARE_SPECS,
    WILD_TEXTS,
    Body,
    annotated,
    nested,
    objects,
    with_status,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planworld import CLUSTER, DR, HOME, NOW, OWNER, A, ami, image, ours, view, wanted, world

from gilder.api import GoldenImage, SpecError, parse_object
from gilder.api.base import MOST_ERRORS, one_line
from gilder.api.conditions import Condition, ConditionType
from gilder.api.lifecycle import PublishedParameter
from gilder.api.names import API_VERSION, TAG_ATTEMPT, TAG_GATES, TAG_IMAGE, TAG_VERSION
from gilder.core.actions import DeregisterImage, LaunchTest, TagResources, UntagResources
from gilder.core.conditions import Verdict, merge, readable, verdicts_of
from gilder.core.gating import plan_gates
from gilder.core.plan import Draft, Plan
from gilder.core.results import Event
from gilder.core.slots import ami_name
from gilder.core.times import rfc3339
from gilder.core.tree import tree
from gilder.core.versions import plan_image
from gilder.core.wanted import Judged, Known, Memory, Source
from gilder.core.work import NO_WORK
from gilder.handlers.kube import allow_depth
from gilder.handlers.store import Key, Store

LINES = "a\nlevel=error\x1b[31m\u202e\u2028b"


def hostile(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@hostile(250)
@given(objects())
def test_any_spec_is_refused_or_planned(body: Body) -> None:
    check_object(body)


@hostile(200)
@given(with_status())
def test_any_status_is_lived_with(body: Body) -> None:
    check_object(body)


@hostile(120)
@given(annotated())
def test_any_annotation_is_lived_with(body: Body) -> None:
    check_object(body)


@pytest.mark.parametrize("number", range(len(IMAGE_SPECS)))
def test_the_images_that_are_changed_are_good(number: int) -> None:
    assert check_object(golden(spec=IMAGE_SPECS[number])) == "planned"


@pytest.mark.parametrize("number", range(len(SHARE_SPECS)))
def test_the_shares_that_are_changed_are_good(number: int) -> None:
    assert check_object(golden("ImageShare", spec=SHARE_SPECS[number])) == "planned"


def golden(kind: str = "GoldenImage", **parts: Any) -> Body:
    meta = {"name": "base", "namespace": "team", "uid": "u-1"}
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": IMAGE_SPECS[0]}
    return copy.deepcopy({**body, **parts})


def refusal(body: Body) -> str:
    with pytest.raises(SpecError) as error:
        parse_object(body)
    judge_text(str(error.value))
    return str(error.value)


# What a refusal says


def test_a_field_that_breaks_lines_is_named_on_one() -> None:
    text = refusal(golden(spec={**IMAGE_SPECS[0], LINES: 1}))
    assert "spec.a\\nlevel=error\\x1b[31m\\u202e\\u2028b: unknown field" in text


def test_of_a_huge_value_the_beginning_is_shown() -> None:
    text = refusal(golden(spec={**IMAGE_SPECS[0], "region": "x" * 1_000_000}))
    assert len(text) < 400
    assert "'xxx" in text


@pytest.mark.parametrize(
    "value", [1 << 30_000, 10**30, 1e308, None, ["x"] * 5000], ids=["long", "big", "e", "no", "x"]
)
def test_what_cannot_be_shown_is_refused_all_the_same(value: Any) -> None:
    assert len(refusal(golden(spec={**IMAGE_SPECS[0], "region": value}))) < 400


def test_of_a_thousand_mistakes_the_first_are_told() -> None:
    spec = {**SHARE_SPECS[0], "accounts": [f"x{n}" for n in range(1000)]}
    text = refusal(golden("ImageShare", spec=spec))
    assert text.count("spec.accounts[") == MOST_ERRORS
    assert text.endswith(f"and {1000 - MOST_ERRORS} more")


@pytest.mark.parametrize("text", WILD_TEXTS)
def test_one_line_is_one_line(text: str) -> None:
    judge_text(one_line(text))
    assert one_line(text) == text or not text.isprintable()


# Names


def test_a_name_that_no_tag_holds_is_refused() -> None:
    body = golden()
    body["metadata"]["name"] = "x" * 253
    assert refusal(body).startswith("metadata.name: ")
    body["metadata"]["name"] = "x" * 251
    assert isinstance(parse_object(body), GoldenImage)
    assert plan(parse_object(body)) > 0


@pytest.mark.parametrize(
    ("name", "namespace", "good"),
    [
        ("/golden/{name}", "team", True),
        ("{name}", "team", True),
        ("/{namespace}/{name}", "aws-team", False),
        ("/{namespace}/{name}", "ssm", False),
        ("/a/" * 16 + "{name}", "team", False),
        ("/golden//{name}", "team", False),
        ("/golden/{name}/", "team", False),
        ("/" + "/".join("a" * 15), "team", True),
        ("/" + "/".join("a" * 16), "team", False),
        ("/SSM/{name}", "team", False),
        ("/x/" + "{namespace}" * 80, "a" * 63, False),
    ],
)
def test_a_parameter_has_a_name_that_aws_takes(name: str, namespace: str, good: bool) -> None:
    body = golden(spec={**IMAGE_SPECS[0], "publish": {"ssmParameter": {"name": name}}})
    body["metadata"]["namespace"] = namespace
    if good:
        assert isinstance(parse_object(body), GoldenImage)
    else:
        assert refusal(body).startswith("spec.publish.ssmParameter")


def test_the_names_in_use_stay_good() -> None:
    for name in ("/golden/{namespace}/{name}", "golden-{name}", "/a.b-c_d/{name}"):
        assert PublishedParameter(name=name).name == name


@pytest.mark.parametrize("text", ["9" * 256, "9" * 10, "\u0663", "-1", "1.0", " 1", ""])
def test_a_number_in_a_tag_is_one_that_we_wrote(text: str) -> None:
    found = image(1, tags={TAG_VERSION: text, TAG_ATTEMPT: text})
    assert (found.version, found.attempt) == (0, 1)


@pytest.mark.parametrize(
    ("template", "version", "name"),
    [
        ("{version}", 4, "004"),
        ("{version}", 1234, "1234"),
        ("{name}{version}", 4, "0x4"),
    ],
)
def test_the_shortest_names_are_long_enough_for_aws(template: str, version: int, name: str) -> None:
    want = replace(wanted(naming={"template": template}), name="x")
    assert ami_name(want, version) == name


# What is told


def test_messages_are_on_one_line() -> None:
    (told,) = merge([], [Verdict(ConditionType.READY, "False", "X", LINES)], 1, "now")
    tags = TagResources(region=HOME, resources=(ami(1),), tags={"a": LINES})
    for text in (told.message, Event("Normal", "X", LINES).message, *Plan((tags,)).lines()):
        judge_text(text)
        assert "level=error" in text


def test_conditions_of_others_are_left_alone() -> None:
    mine = Condition(type="Ready", status="True", reason="X", last_transition_time="")
    theirs = mine.model_copy(update={"type": "Audited"})
    assert [v.type for v in verdicts_of([theirs, mine])] == ["Ready"]


@pytest.mark.parametrize("raw", [None, "x", 1, {"a": 1}, [None], [{"type": 1}], [[]]])
def test_conditions_that_cannot_be_read_are_none(raw: object) -> None:
    assert readable(raw) == []


def test_a_time_that_cannot_be_read_is_no_lag() -> None:
    status = {"replicas": [{"region": DR, "behindSince": "soon", "recoveryPoint": "\x00"}]}
    body = parse_object(golden(status=status))
    assert isinstance(body, GoldenImage)
    (replica,) = tree(body, [], NOW).as_dict()["replicas"]
    assert (replica["lagSeconds"], replica["recoveryPointAgeSeconds"]) == (0, None)


@pytest.mark.parametrize("since", ["", "some day", "\x00"])
def test_gates_begin_anew_where_nobody_can_tell_since_when(since: str) -> None:
    want = wanted(gates={"ssm": {"instance": {"profile": "x"}}})
    home = ours(1, tags={TAG_GATES: "pending"})
    asked = plan_gates(want, home, 1, NO_WORK, NOW, Draft()).gates
    past = Memory(tested={1: Judged("Pending", since=since, gates=asked)})
    verdict = plan_gates(replace(want, memory=past), home, 1, NO_WORK, NOW, Draft())
    assert (verdict.state, verdict.since) == ("Pending", rfc3339(NOW))


def test_a_test_instance_has_tags_that_aws_takes() -> None:
    want = wanted(gates={"ssm": {"instance": {"profile": "x"}}})
    want = replace(want, name="x" * 250)
    home = ours(1, tags={TAG_GATES: "pending"})
    begun = plan_gates(want, home, 1, NO_WORK, NOW, Draft())
    past = Memory(tested={1: Judged("Pending", since=begun.since, gates=begun.gates)})
    draft = Draft()
    plan_gates(replace(want, memory=past), home, 1, NO_WORK, NOW, draft)
    (launch,) = [a for a in draft.actions if isinstance(a, LaunchTest)]
    judge_tag_values(launch.tags)


# Depth


@pytest.mark.parametrize("levels", [60, 70, 300, 9_000])
def test_a_template_may_be_as_deep_as_a_pod_is(levels: int) -> None:
    template = copy.deepcopy(JOB_TEMPLATE)
    template["spec"]["x"] = nested(levels)
    body = golden()
    body["spec"] = {"region": HOME, "source": {"job": {"template": template}}}
    if levels < 64:
        assert check_object(body) == "planned"
    else:
        assert "template: nested deeper than 64 levels" in refusal(body)


@pytest.mark.parametrize("levels", [90, 97, 600, 9_900])
def test_a_deep_object_does_not_keep_others_from_being_known(levels: int) -> None:
    store = Store(CLUSTER, indexed=True)
    body = golden()
    body["spec"]["source"] = {"job": {"template": {"a": nested(levels)}}}
    assert store.take([body, golden("ImageShare", spec=SHARE_SPECS[0])])
    assert len(store.known()) == 2
    found = store.parsed(Key("GoldenImage", "team", "base"))
    assert isinstance(found, SpecError)
    assert "nested deeper" in str(found)


def test_what_an_api_server_stores_is_read() -> None:
    before = sys.getrecursionlimit()
    try:
        allow_depth()
        text = '[{"a":' * 5_000 + "1" + "}]" * 5_000
        assert json.dumps(json.loads(text)).count("[") == 5_000
    finally:
        sys.setrecursionlimit(before)


# A status that somebody edited


def forged(*ids: str, keys: tuple[str, ...] = ()) -> Memory:
    """A status that says of these AMIs that they are the home AMIs of versions of ours."""
    known = {(n, HOME, "home"): Known(i, True, "") for n, i in enumerate(ids, 1)}
    prints = {n: f"f{n}" for n in range(1, len(ids) + 1)}
    return Memory(known, prints, len(ids), len(ids), keys)


@pytest.mark.parametrize("tags", [{"golden": "team/other"}, {"cluster": "test"}])
def test_an_ami_of_another_is_not_taken(tags: dict[str, Any]) -> None:
    """Otherwise it would be deregistered with the one that took it."""
    theirs = ours(7, **tags)
    seen = world(view(HOME, [image(1), theirs]))
    want = replace(wanted(forged(theirs.id), deletionPolicy="Delete"), others={"team/other"})
    for source in (Source(image=image(1)), Source(image=theirs)):
        plan = plan_image(want, source, seen, NOW).plan
        assert "OwnedByAnother" in {p.reason for p in plan.problems}
        for action in plan.actions:
            assert not (isinstance(action, TagResources) and theirs.id in action.resources)
            assert not isinstance(action, DeregisterImage)


def test_an_ami_whose_tag_names_nobody_is_taken_back() -> None:
    """It was altered by hand."""
    mangled = ours(7, golden="team/nobody")
    want = replace(wanted(forged(mangled.id)), others={"team/base", "team/other"})
    plan = plan_image(want, Source(image=image(1)), world(view(HOME, [image(1), mangled])), NOW)
    (action,) = [
        a for a in plan.plan.actions if isinstance(a, TagResources) and mangled.id in a.resources
    ]
    assert action.tags[TAG_IMAGE] == "team/base"


def test_ownership_tags_are_never_tags_of_the_user() -> None:
    mine = ours(2, fingerprint="f1")
    seen = world(view(HOME, [mine]))
    past = forged(mine.id, keys=(TAG_IMAGE, TAG_VERSION, "aws:x", "cost"))
    found = plan_image(wanted(past), Source(image=mine), seen, NOW).plan.actions
    assert not [a for a in found if isinstance(a, UntagResources)]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["versions"].append({"version": 10**30, "fingerprint": "f"}),
        lambda s: s["versions"].append({"version": -1, "images": []}),
        lambda s: s["latest"].update(version=-5),
        lambda s: s.update(conditions="none"),
        lambda s: s.update(retiring=[{"id": ami(9), "region": HOME, "action": "x", "since": "",
                                      "at": ""}]),
        lambda s: s["build"].update(ref="arn:aws:imagebuilder:::image/../..", state="Running"),
        lambda s: s["lastBuild"].update(state="Succeeded", imageId=ami(9)),
        lambda s: s["lastBuild"].update(state="Succeeded", imageId=ami(7)),
        lambda s: s.update(lastBuild={**BUILD, "state": "Succeeded", "imageId": ami(8)}),
        lambda s: s.update(lastBuild={**BUILD, "state": "Succeeded", "imageId": ami(11)}),
        lambda s: s.update(build={**BUILD, "kind": "job"}),
        lambda s: s.clear(),
    ],
)  # fmt: skip
def test_edited_statuses(change: Callable[[Body], None]) -> None:
    for spec in IMAGE_SPECS:
        status = copy.deepcopy(IMAGE_STATUS)
        change(status)
        check_object(golden(spec=spec, status=status))


def test_the_worlds_hold_what_must_not_be_touched() -> None:
    owners = {(i.tags.get(TAG_IMAGE), i.owner == OWNER) for i in POPULATED.images()}
    assert {("team/base", True), ("team/base", False), ("team/other", True)} <= owners
    assert GOLDEN_BODY["metadata"]["name"] == "base"
    assert POPULATED.owned(CLUSTER, "team/base")
    assert POPULATED.region(HOME).permissions[ami(2)].accounts == {A}


def test_nothing_is_drawn_that_others_share() -> None:
    """The values that strategies hand out are changed by what draws them."""
    before = copy.deepcopy((IMAGE_SPECS, SHARE_SPECS, IMAGE_STATUS))

    @hostile(30)
    @given(st.one_of(objects(), with_status()))
    def draw(body: Body) -> None:
        body["spec"].clear() if isinstance(body["spec"], dict) else None

    draw()
    assert before == (IMAGE_SPECS, SHARE_SPECS, IMAGE_STATUS)
