"""Access files and Jobs that anybody might have written."""

import copy
import json
import resource
from typing import Any

import yaml
from hostilevalues import (
    JOB_TEMPLATE,
    SCHEMAS,
    WILD_TEXTS,
    fitting,
    parts,
    texts,
    wild,
)
from hypothesis import strategies as st
from planworld import FOREIGN, A, B
from pydantic import ValidationError

from gilder.api.access import AccessError, AccessFile, load
from gilder.api.building import JobSource
from gilder.core import jobs

ROLE = f"arn:aws:iam::{A}:role/gilder"
FILES: tuple[Any, ...] = (
    {},
    {"namespaces": [{"names": ["*"]}]},
    {
        "accounts": [
            {
                "id": A,
                "name": "images",
                "roles": [
                    {
                        "arn": ROLE,
                        "externalId": "secret-id",
                        "sessionTags": {"team": "base"},
                        "transitiveTagKeys": ["team"],
                        "durationSeconds": 3600,
                    }
                ],
            },
            {"id": B, "profile": "other"},
        ],
        "consumers": [{"accounts": ["5*"], "roles": [{"arn": "arn:aws:iam::{account}:role/x"}]}],
        "organizations": {"account": A},
        "namespaces": [
            {
                "names": ["team-*", "t?[ab]"],
                "accounts": ["own", A],
                "consumers": ["*"],
                "maxPrincipals": 10,
                "parameterLists": ["/x/*"],
                "allow": {"accounts": ["[0-4]*"], "organizations": ["o-*"]},
                "deny": {"organizationalUnits": ["ou-*"]},
            }
        ],
    },
)
_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
_MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
HOSTILE_FILES = (
    "",
    "null",
    "[]",
    "a: [",
    "\t",
    "\x00",
    "&a [*a]",
    "namespaces: &a [*a]",
    "namespaces: &a\n- names: *a\n",
    "? [a, b]\n: c",
    "? {a: b}\n: c",
    "{[a]: b}",
    "!!python/object/apply:os.system ['id']",
    "!!set {a, b}",
    "!!binary x",
    "a: !!int x",
    "a: !!float x",
    "a: !!bool x",
    "a: !!timestamp x",
    "a: 2026-99-99",
    "a: 2026-01-01T99:99:99Z",
    "2026-13-01: a",
    "a: 0x" + "f" * 6000,
    "a: " + "9" * 6000,
    "accounts: 0x" + "f" * 6000,
    "a: 1:99:99:99",
    "a: .nan\nb: .inf",
    ".nan: a",
    "[" * 3000,
    "a: " + "{a: " * 3000,
    "- " * 3000 + "a",
    "<<: 1",
    "<<: [1]",
    "a: b\n<<: {a: c}",
    "---\n{}\n---\n{}",
    "=: a",
    "accounts: !!pairs [a: b]",
    "accounts: !!omap [a: b]",
    "accounts:\n- id: 012345678901\n",
    _LAUGHS + "namespaces: *a11\n",
    _MERGES + "namespaces: [*a11]\n",
    f"accounts:\n- id: '{FOREIGN}'\n  roles: [{{arn: '{ROLE}\n'}}]\n",
    "a: " + "x" * 300_000,
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """The text of an access file: good, changed in parts or in letters, or made to do harm."""
    way = draw(st.integers(0, 9))
    if way == 0:
        return draw(st.sampled_from(HOSTILE_FILES))
    if way == 1:
        return draw(st.text(alphabet="ab:-[]{}&*!?<>|'\"#%@`,\n 0129.~", max_size=60))
    data = copy.deepcopy(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 3))):
        spots = [p for p in parts(data) if p]
        if not spots:
            break
        *path, last = draw(st.sampled_from(spots))
        at: Any = data
        for spot in path:
            at = at[spot]
        at[last] = draw(texts | wild())
    text = yaml.safe_dump(data, allow_unicode=draw(st.booleans()))
    if way == 2 and text:
        cut = draw(st.integers(0, len(text)))
        text = (
            text[:cut]
            + draw(st.sampled_from(("", "\n", " ", "*a", "&a ", "!!int ")))
            + text[cut + 1 :]
        )
    return text


def check_file(text: str) -> str:
    """`accepted` or `refused` with lines that say what is wrong, without the memory of a bomb."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = load(text)
    except AccessError as error:
        told, result = str(error), "refused"
        _judge_refusal(told)
    else:
        assert isinstance(found, AccessFile)
        for target in found.accounts:
            assert target.id.isascii()
            assert all("\n" not in role.arn for role in target.roles)
        result = "accepted"
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert more < 200_000, f"{more} KiB of memory"
    return result


def _judge_refusal(told: str) -> None:
    assert told.strip()
    assert len(told) < 100_000


# Jobs

JOB = SCHEMAS["GoldenImage"]["properties"]["spec"]["properties"]["source"]["properties"]["job"]
CONTEXT = jobs.JobContext(
    "team", "base", "uid-1", "eu-west-1", "prod", 3, "0123456789abcdef0123", "team-base-v3", ""
)


@st.composite
def sources(draw: st.DrawFn) -> Any:
    """A spec.source.job: Packer in its two ways, with anything in its texts; or any template."""
    if draw(st.integers(0, 3)) == 0:
        return draw(fitting(JOB))
    hostile = st.sampled_from(WILD_TEXTS)
    git = {
        "repository": draw(st.just("https://git.example/x") | hostile),
        "ref": draw(st.just("v1") | hostile),
        "path": draw(st.just("linux") | hostile),
    }
    template: Any = {"git": git} if draw(st.booleans()) else {"configMap": {"name": "t"}}
    packer: Any = {
        "template": template,
        "image": draw(st.just("x") | hostile),
        "variables": draw(st.dictionaries(st.just("a_b") | hostile, hostile, max_size=3)),
    }
    source: Any = {"preset": "packer", "packer": packer}
    way = draw(st.integers(0, 3))
    if way:
        given = copy.deepcopy(JOB_TEMPLATE)
        for _ in range(way):
            *path, last = draw(st.sampled_from([p for p in parts(given) if p]))
            at: Any = given
            for spot in path:
                at = at[spot]
            at[last] = draw(wild())
        source["template"] = given
    return source


def check_job(source: Any) -> str:
    """The scripts are constants, and what a spec says reaches them by the environment alone."""
    try:
        found = JobSource.model_validate(source)
    except ValidationError:
        return "refused"
    jobs.inputs(found)
    made = jobs.manifest(found, CONTEXT)
    json.dumps(made)
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    pod = made["spec"]["template"]["spec"]
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["goldenimage.dev/build"] == CONTEXT.build
    assert labels["goldenimage.dev/image"] == "base"
    before = (found.template or {}).get("spec") or {}
    given = [
        c.get("command")
        for kind in ("initContainers", "containers")
        for c in before.get(kind) or []
    ]
    ours = [["/bin/sh", "-c", text] for text in (jobs._PACKER, jobs._CLONE)]
    for container in [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]:
        command = container.get("command")
        assert command in ours or command in given, f"a command of nobody: {command}"
        build = [e for e in container["env"] if e.get("name") in jobs._FIXED]
        assert [e["value"] for e in build] == [CONTEXT.build] * 2, "the build id is not ours"
    return "made"
