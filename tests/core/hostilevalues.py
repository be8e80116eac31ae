"""Strategies for what a stranger may hand to the operator: valid, nearly valid, and wild."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from planworld import (
    DR,
    DR_KEY,
    FOREIGN,
    GOLDEN,
    HOME,
    HOME_KEY,
    ORG,
    OTHER_KEY,
    OU,
    OWNER,
    A,
    B,
    ami,
)

from gilder.api.crd import crds
from gilder.api.names import (
    ABANDON,
    API_VERSION,
    APPROVE,
    PAUSED,
    PROMOTE,
    REBUILD,
    RECONCILE_NOW,
    REJECT,
    REQUESTED_AT,
)

Json = Any
Body = dict[str, Any]

SCHEMAS: dict[str, Body] = {
    c["spec"]["names"]["kind"]: c["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for c in crds()
}
KINDS = tuple(SCHEMAS)
INSTANCE_ID = "i-00000001"
TEMPLATE_ID = "lt-0123456789abcdef0"


def nested(depth: int, value: Json = "deep") -> Json:
    """A value at the bottom of so many objects and lists."""
    for n in range(depth):
        value = {"a": value} if n % 2 else [value]
    return value


# Text that means something to a shell, a template, a log, a terminal, a path or a database.
WILD_TEXTS = (
    "",
    " ",
    "a\nb",
    "a\r\nlevel=error msg=forged",
    "\x1b[31mred\x1b[0m",
    "\x00",
    "\x7f\x85\u2028\u2029",
    "\u202eabc",
    "../../etc/passwd",
    "/etc/passwd",
    "${HOME}",
    "$(id)",
    "`id`",
    "$(GILDER_BUILD_ID)",
    "'; rm -rf /; '",
    '"; id; "',
    "a && id | cat > /tmp/x",
    "--upload-pack=id",
    "{{ .Values.secret }}",
    "{{ imagebuilder:buildDate }}",
    "{{ ssm:/secret }}",
    "{namespace}{name}{version}",
    "{version}",
    "{0.__class__}",
    "%s%n%d",
    "null",
    "true",
    "1e999",
    "*",
    "???*[!a]*",
    "(" * 50 + "a+" * 50,
    "\u0663\u0663",  # digits, and not those of ASCII
    "\u0130\u0131\ufb01",  # other lengths in another case
    "\U0001f600" * 40,
    "e\u0301" * 60,
    "x" * 300,
    "x" * 20_000,
    "aws:reserved",
    "goldenimage.dev/image",
    "team/other",
    "kube-system",
    f"arn:aws:iam::{FOREIGN}:role/admin",
    f"arn:aws-cn:iam::{OWNER}:role/x",
    "arn:aws:iam::{account}:role/../../x",
    "arn:aws:iam::*:root",
    f"arn:aws:kms:{HOME}:{FOREIGN}:key/00000001-0000-0000-0000-000000000000",
    f"arn:aws-us-gov:kms:{HOME}:{OWNER}:alias/x",
    "alias/aws/ebs",
    "mrk-" + "0" * 32,
    "2030-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2030-01-01T00:00:00",
    "2030-02-31T00:00:00Z",
    "9999d99999h999999m",
    "0m",
    "0 0 31 2 *",
    "*/1 * * * *",
    "0 3 * * 1#5",
    "Europe/Berlin",
    "../../etc/localtime",
    "ssm",
    "/aws/x",
    "a..b",
    "a" * 253,
    "-",
)
# What JSON and YAML bring that is no text.
WILD_VALUES: tuple[Json, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(10**30),
    1e308,
    0.5,
    [],
    {},
    [None],
    {"": None},
    ["a", "a"],
    [A] * 3,
    {"a": {"b": {"c": None}}},
)
HUGE_VALUES: tuple[Json, ...] = (
    nested(60),
    [A] * 1500,
    [{}] * 300,
    {f"k{n}": "v" for n in range(300)},
    "9" * 5000,
)

# What Kubernetes itself refuses never reaches us, so that names are valid; and awkward.
NAMESPACES = ("team", "other", "aws-team", "ssm", "0", "a" * 63, "a-" * 31 + "a")
NAMES = (
    "base",
    "other",
    "a.b",
    "a-b",
    "0",
    "aws",
    "ssm.x",
    "x" * 63,
    "x" * 64,
    "x" * 253,
    "a" * 51 + ".-b".replace("-", "x"),
    "a" * 50 + "-" * 5 + "b",
    "a." * 100 + "b",
)

# A value that leads somewhere in the worlds of planworld, by what stands in the pattern.
KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("^ami-", tuple(map(ami, range(1, 12)))),
    ("^i-", (INSTANCE_ID,)),
    (":kms:", (HOME_KEY, DR_KEY, OTHER_KEY, "alias/golden")),
    (":organization/", (ORG,)),
    (":ou/", (OU,)),
    ("^[a-z]{2}(-", (HOME, DR, "us-east-1", "xx-nowhere-9")),
    ("^[0-9]{12}$", (A, B, OWNER, FOREIGN)),
    ("^lt-", (TEMPLATE_ID,)),
    ("d)?(", ("1d", "0m", "24h", "30m", "3650d", "9999d99999h999999m")),
    ("T[0-9]{2}", ("2030-02-01T00:00:00Z",
      "9999-12-31T23:59:59-23:59",
      "0001-01-01T00:00:00+09:00")),
    ("S+( +", ("0 3 * * 1", "*/5 * * * *", "0 0 29 2 *", "0 0 31 2 *")),
    ("^[A-Za-z][A-Za-z0-9_+-]*(/", ("UTC", "Europe/Berlin", "posixrules", "Factory")),
    ("namespace|name|version", ("{namespace}-{name}-v{version}", "{version}", "a b/{version}'")),
    ("namespace|name)", ("/golden/{name}", "{name}", "/{namespace}/{name}", "/" * 8 + "{name}")),
    ("https://", ("https://git.example/x", "ssh://git@git.example/x", "git@git.example:x")),
)  # fmt: skip

texts = st.sampled_from(WILD_TEXTS) | st.text(max_size=20)
scalars = texts | st.sampled_from(WILD_VALUES) | st.integers() | st.floats(allow_nan=False)
small_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def wild(draw: st.DrawFn) -> Json:
    """Anything that JSON may say; now and then a lot of it."""
    huge = draw(st.integers(0, 19)) == 0
    return copy.deepcopy(draw(st.sampled_from(HUGE_VALUES) if huge else small_json))


def _text(schema: Body) -> st.SearchStrategy[str]:
    pattern = schema.get("pattern", "")
    for part, values in KNOWN:
        if part in pattern:
            return st.sampled_from(values) | st.from_regex(pattern, fullmatch=True)
    if pattern:
        return st.from_regex(pattern, fullmatch=True)
    return texts | st.text(max_size=min(schema.get("maxLength", 10), 10))


@st.composite
def fitting(draw: st.DrawFn, schema: Body, strangeness: int = 12) -> Json:
    """What the schema takes, for the most part: one value of `strangeness` is wild."""
    if draw(st.integers(1, strangeness)) == strangeness:
        return draw(wild())
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kind = schema.get("type")
    if kind == "string":
        return draw(_text(schema))
    if kind == "boolean":
        return draw(st.booleans())
    if kind == "integer":
        low, high = schema.get("minimum", -5), schema.get("maximum", 2**40)
        number = draw(st.integers(low, high) | st.sampled_from((low, high)))
        step = schema.get("multipleOf", 1)
        return number - number % step or number
    if kind == "array":
        most = min(schema.get("maxItems", 4), 4)
        least = schema.get("minItems", 0)
        size = draw(st.integers(least, max(most, least)))
        return [draw(fitting(schema["items"], strangeness * 2)) for _ in range(size)]
    if "properties" in schema:
        names = schema["properties"]
        chosen = [
            n for n in names if n in schema.get("required", ()) or draw(st.integers(0, 3)) == 0
        ]
        return {n: draw(fitting(names[n], strangeness * 2)) for n in chosen}
    if isinstance(schema.get("additionalProperties"), dict):
        keys = draw(st.lists(st.sampled_from(("a", "b", "Name")) | texts, max_size=3))
        return {k: draw(fitting(schema["additionalProperties"], strangeness * 2)) for k in keys}
    return draw(wild())


def _change(draw: st.DrawFn, at: Json, schema: Body) -> None:
    """One change somewhere below: a part is given, replaced, repeated, or taken away."""
    while isinstance(at, dict | list):
        if isinstance(at, list):
            inner = schema.get("items", {})
            if not at or draw(st.integers(0, 3)) == 0:
                at.append(
                    copy.deepcopy(at[0]) if at and draw(st.booleans()) else draw(fitting(inner))
                )
                return
            spot: Any = draw(st.integers(0, len(at) - 1))
        else:
            names = sorted({*schema.get("properties", {}), *map(str, at)}) or ["a"]
            if draw(st.integers(0, 30)) == 0:
                at[draw(texts)] = draw(wild())
                return
            spot = draw(st.sampled_from(names))
            more = schema.get("additionalProperties")
            inner = schema.get("properties", {}).get(spot, more if isinstance(more, dict) else {})
        there = at[spot] if isinstance(at, list) or spot in at else None
        if isinstance(there, dict | list) and draw(st.integers(0, 3)):
            at, schema = there, inner
            continue
        if there is not None and draw(st.integers(0, 5)) == 0:
            del at[spot]
        else:
            at[spot] = draw(fitting(inner))
        return


JOB_TEMPLATE: Body = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "containers": [{"name": "bake", "image": "x", "env": [{"name": "A", "value": "b"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
}
IMAGE_SPECS: tuple[Body, ...] = (
    {"region": HOME, "source": {"image": {"id": ami(1)}}},
    {
        "region": HOME,
        "source": {"image": {"ssmParameter": "/base/ami"}},
        "encryption": {"kmsKeyId": HOME_KEY},
        "replicas": [
            {
                "region": DR,
                "kmsKeyId": DR_KEY,
                "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "jitterMinutes": 5},
                "maxLag": "2d",
                "copyDurationMinutes": 30,
                "retention": {"keep": 2},
            }
        ],
        "naming": {"template": "{namespace}/{name} ({version})"},
        "tags": {"team": "base", "Name": "golden"},
        "publish": {
            "ssmParameter": {"name": "/golden/{name}", "accounts": [A]},
            "launchTemplates": [{"id": TEMPLATE_ID}, {"name": "web", "region": DR}],
            "configMap": {"name": "base-ami"},
        },
        "retention": {
            "keep": 1,
            "maxAge": "30d",
            "keepUnreleased": 0,
            "deprecateAfter": "1d",
            "disableAfter": "2d",
            "gracePeriod": "0m",
            "unusedFor": "0m",
            "checkOtherAccounts": False,
            "deregistrationProtection": "Disabled",
        },
        "promotion": {"mode": "Soak", "soakTime": "1h", "replicas": "Wait", "testAccounts": [B]},
        "allowedNamespaces": ["other", "x*"],
        "deletionPolicy": "Delete",
        "description": "golden",
    },
    {
        "region": HOME,
        "source": {"instance": {"tags": {"role": "golden"}, "noReboot": True}},
        "schedule": {"cron": "0 3 * * 1", "rebuildOn": ["SpecChanged"]},
        "deletionPolicy": "Orphan",
        "replicas": [{"region": DR}],
    },
    {"region": HOME, "source": {"image": {"newest": {"owners": ["self"], "name": "base-*"}}}},
    {
        "region": HOME,
        "source": {
            "imageBuilder": {
                "recipe": {
                    "parentImage": {"id": ami(1)},
                    "components": [
                        {"check": "Patched"},
                        {"name": "own", "document": "name: x\nphases: []\n"},
                        {
                            "arn": f"arn:aws:imagebuilder:{HOME}:aws:component/x/x.x.x",
                            "parameters": {"p": ["v"]},
                        },
                    ],
                    "blockDevices": [{"device": "/dev/xvda", "volume": {"size": 8, "type": "gp3"}}],
                    "userData": "#!/bin/sh",
                },
                "infrastructure": {
                    "instanceProfile": "builder",
                    "instanceTypes": ["t3.small"],
                    "logs": {"bucket": "logs"},
                    "tags": {"cost": "1"},
                },
            }
        },
        "gates": {
            "manual": True,
            "inspector": {"maxFindings": {"critical": 0}},
            "ssm": {
                "instance": {"profile": "test"},
                "checks": ["NoSecrets", "Patched"],
                "documents": [{"name": "own-document", "parameters": {"commands": ["id"]}}],
            },
        },
    },
    {
        "region": HOME,
        "source": {
            "imageBuilder": {
                "pipelineArn": f"arn:aws:imagebuilder:{HOME}:{OWNER}:image-pipeline/base"
            }
        },
    },
    {
        "region": HOME,
        "source": {
            "job": {
                "preset": "packer",
                "packer": {
                    "template": {
                        "git": {
                            "repository": "https://git.example/x",
                            "ref": "v1",
                            "path": "linux",
                            "secretName": "git",
                        }
                    },
                    "variables": {"size": "8"},
                    "variablesSecret": "more",
                },
                "template": JOB_TEMPLATE,
                "serviceAccountName": "baker",
            }
        },
    },
    {"region": HOME, "source": {"job": {"template": JOB_TEMPLATE}}},
)
SHARE_SPECS: tuple[Body, ...] = (
    {"imageRef": {"name": "base"}, "accounts": [A, B]},
    {
        "imageRef": {"selector": {"matchLabels": {"os": "linux"}}, "namespace": "team"},
        "versions": {"select": "Newest", "count": 2},
        "regions": [HOME, DR],
        "organizations": [ORG],
        "organizationalUnits": [OU],
        "kms": {
            "mode": "KeyPolicy",
            "operations": ["Decrypt", "CreateGrant"],
            "granteePrincipals": ["arn:aws:iam::{account}:role/x"],
        },
        "ignoreAccounts": [B],
        "snapshots": True,
        "mode": "Additive",
    },
    {
        "imageRef": {"images": [{"id": ami(2), "region": HOME}, {"id": ami(20), "region": HOME}]},
        "accounts": [A],
        "public": True,
        "confirmPublic": True,
        "kms": {"mode": "None"},
    },
    {
        "imageRef": {"name": "base", "namespace": "team"},
        "accountsFrom": [
            {"configMap": {"name": "ids", "key": "accounts"}},
            {"ssmParameter": {"name": "/ids", "region": HOME}, "allowEmpty": True},
            {"organization": ORG},
            {"organizationalUnit": OU},
        ],
        "temporary": [
            {"account": A, "until": "2030-02-01T00:00:00Z"},
            {"organization": ORG, "until": "2030-01-02T00:00:00+02:00"},
        ],
        "consumerTags": {"copyKeys": ["*"], "tags": {"a": "b"}},
        "verifyFromConsumer": True,
        "versions": {"select": "Candidate"},
    },
)
SPECS = {"GoldenImage": IMAGE_SPECS, "ImageShare": SHARE_SPECS}

annotation_values = texts | st.sampled_from(
    ("true", "TRUE", "1", "2", "v1", "v2", "-1", "0", "1 ", "999999999", "9" * 30, "1,2", "1.0")
)
annotations = st.dictionaries(
    st.sampled_from(
        (RECONCILE_NOW, REQUESTED_AT, PAUSED, ABANDON, REBUILD, APPROVE, REJECT, PROMOTE)
    )
    | texts,
    annotation_values,
    max_size=4,
)
labels = st.dictionaries(
    st.sampled_from(("os", "team")) | texts, st.sampled_from(("linux", "")) | texts, max_size=2
)


@st.composite
def metadata(draw: st.DrawFn, *, usual: bool = False) -> Body:
    """As an API server stores it: names are valid, labels and annotations are text."""
    name, namespace = "base", "team"
    if not usual and draw(st.booleans()):
        name, namespace = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMESPACES))
    meta: Body = {"name": name, "namespace": namespace, "uid": "u-1", "generation": 2}
    if draw(st.integers(0, 2)) == 0:
        meta["annotations"] = draw(annotations)
    if draw(st.integers(0, 3)) == 0:
        meta["labels"] = draw(labels)
    if draw(st.integers(0, 7)) == 0:
        meta |= {"deletionTimestamp": "2030-01-01T11:00:00Z", "finalizers": ["goldenimage.dev/f"]}
    return meta


@st.composite
def objects(draw: st.DrawFn, kind: str | None = None, *, most_changes: int = 4) -> Body:
    """A GoldenImage or an ImageShare: a good one with a few changes, or one made of the schema."""
    kind = kind or draw(st.sampled_from(KINDS))
    schema = SCHEMAS[kind]["properties"]["spec"]
    if draw(st.integers(0, 9)) == 0:
        spec = draw(fitting(schema))
    else:
        spec = copy.deepcopy(draw(st.sampled_from(SPECS[kind])))
        for _ in range(draw(st.integers(0, most_changes))):
            _change(draw, spec, schema)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": draw(metadata()), "spec": spec}


PAST = "2029-12-31T00:00:00Z"


def told_version(number: int, images: tuple[tuple[str, str, str], ...], **more: Any) -> Body:
    """One entry of status.versions; `images` are Region, AMI id and role."""
    return {
        "version": number,
        "source": ami(1),
        "fingerprint": "f1",
        "createdAt": "2029-12-01T00:00:00Z",
        "current": True,
        "images": [
            {"region": r, "imageId": i, "role": role, "state": "available"} for r, i, role in images
        ],
        **more,
    }


READY: Body = {
    "type": "Ready",
    "status": "True",
    "reason": "Available",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2029-12-01T00:00:00Z",
}
BUILD: Body = {
    "id": "0123456789abcdef0123",
    "kind": "imageBuilder",
    "trigger": "initial",
    "version": 3,
    "state": "Running",
    "ref": f"arn:aws:imagebuilder:{HOME}:{OWNER}:image/base/1.0.0/1",
    "startedAt": "2030-01-01T11:00:00Z",
}
IMAGE_STATUS: Body = {
    "observedGeneration": 1,
    "conditions": [READY],
    "latest": {"version": 2, "imageId": ami(2)},
    "versions": [
        told_version(2, ((HOME, ami(2), "home"), (DR, ami(3), "replica"))),
        # AMIs of others, which a forged status may name as ours.
        told_version(1, ((HOME, ami(7), "home"), (HOME, ami(9), "intermediate"))),
        told_version(
            3, ((HOME, ami(4), "home"),), gate="Pending", testedSince=PAST, gatesAsked="x"
        ),
    ],
    "replicas": [{"region": DR, "version": 1, "behindSince": "2029-12-30T00:00:00Z"}],
    "retiring": [
        {"id": ami(n), "region": HOME, "action": "Deregister", "since": PAST, "at": PAST}
        for n in (7, 4)
    ],
    "published": [
        {"kind": "Parameter", "name": "/golden/base", "region": HOME, "imageId": ami(2)},
        {"kind": "Parameter", "name": "/stranger", "region": HOME, "imageId": ami(2)},
    ],
    "build": BUILD,
    "lastBuild": {**BUILD, "state": "Failed", "finishedAt": "2029-12-31T00:00:00Z"},
    "managedTagKeys": ["team", "goldenimage.dev/image", "Name"],
}
SHARE_STATUS: Body = {
    "observedGeneration": 1,
    "conditions": [READY],
    "images": [
        {"region": HOME, "imageId": ami(2), "image": GOLDEN, "version": 2, "accounts": [A]},
        {"region": HOME, "imageId": ami(9), "accounts": [B], "snapshots": True},
        {"region": HOME, "imageId": ami(8), "accounts": [B]},
    ],
    "grants": [{"region": HOME, "keyId": HOME_KEY, "principal": A, "grantId": "g"}],
    "keyPolicies": [{"region": HOME, "keyId": HOME_KEY}],
    "lists": [{"source": "configMap ids/accounts", "accounts": [A, "nonsense"]}],
    "nextExpiry": "2030-01-01T13:00:00Z",
}
STATUSES = {"GoldenImage": IMAGE_STATUS, "ImageShare": SHARE_STATUS}


def parts(value: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all parts of a value, with its own."""
    yield at
    if isinstance(value, dict | list):
        for spot, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from parts(part, (*at, spot))


@st.composite
def statuses(draw: st.DrawFn, kind: str) -> Json:
    """A status that was edited: forged, cut short, of another version, or no status at all."""
    schema = SCHEMAS[kind]["properties"]["status"]
    way = draw(st.integers(0, 9))
    if way == 0:
        return draw(wild())
    if way == 1:
        return draw(fitting(schema))
    status = copy.deepcopy(STATUSES[kind])
    for name in sorted(status):
        if draw(st.integers(0, 4)) == 0:
            del status[name]
    for _ in range(draw(st.integers(0, 5))):
        _change(draw, status, schema)
    return status


@st.composite
def with_status(draw: st.DrawFn, kind: str | None = None) -> Body:
    """A good object, hardly changed, whose status is anything."""
    kind = kind or draw(st.sampled_from(KINDS))
    body = draw(objects(kind, most_changes=1))
    if draw(st.integers(0, 2)):
        body["metadata"] |= {"name": "base" if kind == "GoldenImage" else "share"}
        body["metadata"]["namespace"] = "team"
    return {**body, "status": draw(statuses(kind))}


@st.composite
def annotated(draw: st.DrawFn) -> Body:
    """A good object, with annotations and labels that are anything."""
    body = draw(with_status())
    kind = body["kind"]
    body["spec"] = copy.deepcopy(draw(st.sampled_from(SPECS[kind])))
    body["status"] = copy.deepcopy(STATUSES[kind])
    body["metadata"] |= {"annotations": draw(annotations), "labels": draw(labels)}
    return body


def shown(value: Json, most: int = 4000) -> str:
    """A value on one line, for who reads of a violation."""
    text = json.dumps(value, default=str) if not isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
