"""Commands that need neither AWS nor a cluster, through the real command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gilder.api.access import AccessError
from gilder.aws.iampolicy import FILES
from gilder.cli import app
from gilder.cli.manifests import ManifestError, read
from gilder.config import Settings

ROOT = Path(__file__).parents[2]
runner = CliRunner()


def test_the_crds_on_disk_are_the_models(tmp_path: Path) -> None:
    assert runner.invoke(app, ["crds", "--check", str(ROOT / "crds")]).exit_code == 0
    assert runner.invoke(app, ["crds", "--write", str(tmp_path)]).exit_code == 0
    file = next(iter(sorted(tmp_path.glob("*.yaml"))))
    file.write_text(file.read_text() + "# by hand\n")
    stale = runner.invoke(app, ["crds", "--check", str(tmp_path)])
    assert stale.exit_code == 1
    assert file.name in stale.output


@pytest.mark.parametrize("part", FILES)
def test_the_policies_on_disk_are_those_that_are_printed(part: str, tmp_path: Path) -> None:
    on_disk = (ROOT / "deploy" / FILES[part]).read_text()
    printed = runner.invoke(app, ["iam-policy", "--part", part])
    assert (printed.exit_code, printed.stdout) == (0, on_disk)
    everything = json.loads(runner.invoke(app, ["iam-policy"]).stdout)
    assert list(everything) == list(FILES)
    assert everything[part] == json.loads(on_disk)
    written = runner.invoke(app, ["iam-policy", "--part", part, "--write", str(tmp_path)])
    assert written.exit_code == 0
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {FILES[part]: on_disk}


def test_a_policy_that_there_is_none_of() -> None:
    result = runner.invoke(app, ["iam-policy", "--part", "mine"])
    assert result.exit_code == 1
    assert "use main, builds, sharing, publishing, consumer" in result.output


def test_plan_names_every_bad_field_and_calls_no_aws(tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text(
        """
apiVersion: goldenimage.dev/v1alpha1
kind: ImageShare
metadata: {name: s, namespace: n}
spec:
  imageRef: {name: a}
  accounts: ["12345"]
---
apiVersion: goldenimage.dev/v1alpha1
kind: GoldenImage
metadata: {name: g, namespace: n}
spec:
  region: eu-west-1
  source:
    image: {id: ami-0123456789abcdef0}
    instance: {id: i-0123456789abcdef0}
"""
    )
    result = runner.invoke(app, ["plan", str(manifest)])
    assert result.exit_code == 1
    assert "ImageShare n/s: spec.accounts[0]" in result.output
    assert "12345" in result.output
    assert (
        "GoldenImage n/g: spec.source: give exactly one of image, instance, imageBuilder and job"
        in result.output
    )


@pytest.mark.parametrize(
    ("text", "want"),
    [("a: [", "not YAML"), ("- 1\n", "list is not a manifest"), ("\xff", None)],
)
def test_files_that_are_no_manifests(tmp_path: Path, text: str, want: str | None) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ManifestError, match=want or "x.yaml"):
        read([file])
    with pytest.raises(ManifestError, match="no such file"):
        read([tmp_path / "none"])


def test_lists_and_folders_are_unpacked(tmp_path: Path) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap"}
    whole = {"apiVersion": "v1", "kind": "List", "items": [document, document]}
    (tmp_path / "a.json").write_text(json.dumps(whole))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.yml").write_text("---\n---\nkind: Secret\n")
    (tmp_path / "c.txt").write_text("not read")
    assert [d["kind"] for d in read([tmp_path])] == ["ConfigMap", "ConfigMap", "Secret"]


def test_settings_that_make_no_sense_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GILDER_WORKERS", "many")
    result = runner.invoke(app, ["run", "--resync-seconds", "0"])
    assert result.exit_code == 1
    assert "GILDER_WORKERS" in result.output
    assert "GILDER_RESYNC_SECONDS" in result.output


def test_a_selector_that_cannot_be_read_is_told_with_the_way_to_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GILDER_SELECTOR", "shard is a")
    result = runner.invoke(app, ["run"])
    assert result.exit_code == 1
    assert result.output.startswith(
        "gilder: GILDER_SELECTOR: 'shard is a' is no requirement. Write"
    )
    assert result.output.count("\n") == 1


BAD_ACCESS = """
namespaces:
- names: [a]
  accounts: ["111111111111"]
  maxPrincipal: 5
"""


def test_an_access_file_that_makes_no_sense_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(BAD_ACCESS)
    monkeypatch.setenv("GILDER_ACCESS_FILE", str(file))
    result = runner.invoke(app, ["run"])
    assert result.exit_code == 1
    assert "gilder: GILDER_ACCESS_FILE: namespaces[0].maxPrincipal: unknown field" in result.output
    assert str(file) in result.output
    file.unlink()
    result = runner.invoke(app, ["run"])
    assert result.exit_code == 1
    assert "gilder: GILDER_ACCESS_FILE: cannot be read: " in result.output
    assert "No such file" in result.output


def test_the_access_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("namespaces: [{names: [a]}]")
    settings = Settings(access_file=str(file))
    found = settings.access()
    assert found is not None
    assert found.namespaces[0].names == ("a",)
    file.write_text("namespaces: [{names: [b]}]")
    again = settings.access()
    assert again is not None
    assert again.namespaces[0].names == ("b",)
    file.write_text("nonsense: 1")
    with pytest.raises(AccessError, match="nonsense: unknown field"):
        settings.access()
    assert Settings().access() is None
