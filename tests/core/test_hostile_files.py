"""Access files and Jobs that anybody might have written, and what fuzzing them has found."""

import copy
from typing import Any

import pytest
from hostilefiles import HOSTILE_FILES, check_file, check_job, files, sources
from hostilevalues import JOB_TEMPLATE
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from gilder.api.access import AccessError, load
from gilder.api.building import JobSource

PACKER = {"template": {"configMap": {"name": "template"}}}
QUICK = settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@QUICK
@given(files())
def test_any_file_is_refused_or_read(text: str) -> None:
    check_file(text)


@pytest.mark.parametrize("text", HOSTILE_FILES, ids=range(len(HOSTILE_FILES)))
def test_files_made_to_do_harm(text: str) -> None:
    assert check_file(text) in ("refused", "accepted")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int x",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: 2026-99-99",
        "a: " + "9" * 5000,
        "[" * 3000,
    ],
    ids=lambda t: t[:16],
)
def test_what_the_parser_stumbles_over_is_no_yaml(text: str) -> None:
    with pytest.raises(AccessError, match=r"^not YAML: ") as error:
        load(text)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


@QUICK
@given(sources())
def test_no_spec_changes_what_our_containers_run(source: Any) -> None:
    check_job(source)


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
@pytest.mark.parametrize("name", [["a"], {"a": "b"}, 1, True])
def test_the_name_of_a_variable_is_text(kind: str, name: Any) -> None:
    template = copy.deepcopy(JOB_TEMPLATE)
    template["spec"][kind] = [{"name": "x", "env": [{"name": name}]}]
    source = {"preset": "packer", "packer": PACKER, "template": template}
    with pytest.raises(ValidationError, match=r"env\[0\].name: must be text"):
        JobSource.model_validate(source)


@pytest.mark.parametrize("part", ["env", "envFrom", "volumeMounts"])
def test_an_entry_that_is_null_is_no_entry(part: str) -> None:
    template = copy.deepcopy(JOB_TEMPLATE)
    template["spec"]["containers"] = [{"name": "x", part: [None]}]
    with pytest.raises(ValidationError, match=r"\[0\]: must be a mapping"):
        JobSource.model_validate({"template": template})
