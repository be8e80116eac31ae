"""The access file is followed, and a slip in it counts for nothing."""

from pathlib import Path

import pytest

from gilder.config import Settings
from gilder.handlers.access import AccessWatch

GOOD = "namespaces:\n- names: [images]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "access.yaml"
    path.write_text(GOOD)
    return path


def watch(file: Path) -> AccessWatch:
    settings = Settings(access_file=str(file))
    found = AccessWatch(settings)
    found.start(settings.access())
    return found


def test_a_change_is_told_once(file: Path) -> None:
    seen = watch(file)
    assert seen.changed() is None
    file.write_text(GOOD + "  public: true\n")
    changed = seen.changed()
    assert changed is not None
    assert changed.namespaces[0].public
    assert seen.changed() is None


def test_the_same_in_other_words_is_no_change(file: Path) -> None:
    seen = watch(file)
    file.write_text("# a remark\nnamespaces: [{names: [images]}]\n")
    assert seen.changed() is None


@pytest.mark.parametrize("slip", ["namespaces: 7", "{", None])
def test_a_slip_is_logged_once_and_the_file_before_counts(
    file: Path, slip: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = watch(file)
    if slip is None:
        file.unlink()
    else:
        file.write_text(slip)
    assert seen.changed() is None
    assert seen.changed() is None
    assert capsys.readouterr().out.count("not understood") == 1
    file.write_text(GOOD + "  public: true\n")
    assert seen.changed() is not None


def test_without_a_file_nothing_is_followed() -> None:
    seen = AccessWatch(Settings())
    seen.start(None)
    assert seen.changed() is None
