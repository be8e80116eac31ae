"""What runs on a change and makes a release: pinned, with few rights, and of README's commands."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
IDS = [f.stem for f in FILES]
Workflow = dict[str, Any]

# Who may write what. All else is read.
WRITES = {
    ("release", "image"): {"packages", "id-token", "attestations"},
    ("release", "chart"): {"packages", "id-token", "attestations"},
    ("release", "release"): {"contents", "id-token"},
}
COMMANDS = {
    "ci": {".ci/run", "tools/dev sandbox --once", "tools/dev docs"},
    "release": {".ci/run"},
    "audit": {"tools/dev audit"},
    "reliability": {"tools/dev python reliability/$WHAT $SEED"},
}


def read(text: str) -> Workflow:
    """YAML 1.1 takes the key `on` for true."""
    found = yaml.safe_load(text)
    if True in found:
        found["on"] = found.pop(True)
    return dict(found)


def faults(name: str, text: str) -> list[str]:
    """What is wrong in a workflow, and where."""
    workflow, found = read(text), []
    triggers = workflow["on"] if isinstance(workflow["on"], dict) else set(workflow["on"])
    for trigger in ("pull_request_target", "workflow_run", "issue_comment"):
        if trigger in triggers:
            found.append(f"{trigger}: runs with the rights of the repository on others' content")
    if workflow.get("permissions") != {}:
        found.append("permissions: say {} at the top, and in each job what it needs")
    if workflow.get("defaults", {}).get("run", {}).get("shell") != "bash":
        found.append("defaults: without bash an error within a pipe is lost")
    for key, job in workflow["jobs"].items():
        found += [f"{key}: {fault}" for fault in _of_job((name, key), job)]
    for line in text.splitlines():
        if "uses:" in line and not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line):
            found.append(f"{line.strip()}: name a commit, and its version behind it")
        if re.search(r"image[:=] ?\S+/", line) and not re.search(r"@sha256:[0-9a-f]{64}$", line):
            found.append(f"{line.strip()}: name a digest")
    return found


def _of_job(place: tuple[str, str], job: dict[str, Any]) -> list[str]:
    found = []
    rights = job.get("permissions")
    if not isinstance(rights, dict):
        found.append("permissions: name each")
    else:
        writes = {right for right, kind in rights.items() if kind != "read"}
        if writes - WRITES.get(place, set()):
            found.append(f"permissions: may not write {sorted(writes)}")
    if "timeout-minutes" not in job or "latest" in job.get("runs-on", "latest"):
        found.append("say timeout-minutes, and which machine")
    for step in job.get("steps", ()):
        script = step.get("run", "")
        if "${{" in script:
            found.append(f"{script}: pass expressions by env, or they are run")
        if re.search(r"\b(?:curl|wget)\b", script) and not re.search(r"sha\d+sum --check", script):
            found.append(f"{script}: check what was fetched")
        if re.search(r"echo .*\$\(", script):
            found.append(f"{script}: an error of a command within echo is lost")
        if re.search(r"\b(?:pip|npm|go|uv) install\b", script):
            found.append(f"{script}: install by tools/dev, from a lock")
        keeps = step.get("with", {}).get("persist-credentials") is not False
        if step.get("uses", "").startswith("actions/checkout@") and keeps:
            found.append("checkout: persist-credentials: false")
    return found


def scripts(workflow: Workflow) -> str:
    return "\n".join(s.get("run", "") for j in workflow["jobs"].values() for s in j["steps"])


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_nothing_is_wrong_in_it(file: Path) -> None:
    assert faults(file.stem, file.read_text()) == []


GOOD = """
on: [push]
permissions: {}
defaults: {run: {shell: bash}}
jobs:
  test:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions: {contents: read}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with: {persist-credentials: false}
      - run: .ci/run
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7", "name a commit"),
        (" # v7.0.1", "", "name a commit"),
        ("\npermissions: {}", "", "at the top"),
        ("\npermissions: {}", "\npermissions: write-all", "at the top"),
        ("    permissions: {contents: read}\n", "", "name each"),
        ("{contents: read}", "write-all", "name each"),
        ("{contents: read}", "{contents: write}", "may not write ['contents']"),
        ("on: [push]", "on: [pull_request_target]", "others' content"),
        ("on: [push]", "on: {pull_request_target: {}}", "others' content"),
        (".ci/run", "echo ${{ github.event.pull_request.title }}", "by env"),
        (".ci/run", "git checkout ${{ github.head_ref }}", "by env"),
        (".ci/run", "curl https://example.com/tool | sh", "check what was fetched"),
        (".ci/run", "python -m pip install kopf", "from a lock"),
        (".ci/run", 'echo "digest=$(cat digest)" >>"$GITHUB_OUTPUT"', "is lost"),
        ("persist-credentials: false", "fetch-depth: 0", "persist-credentials"),
        ("ubuntu-24.04", "ubuntu-latest", "which machine"),
        ("    timeout-minutes: 5\n", "", "timeout-minutes"),
        ("{shell: bash}", "{}", "within a pipe"),
        ("{persist-credentials: false}", "{image: x/y:latest}", "persist-credentials"),
        (
            "    runs-on: ubuntu-24.04",
            "    runs-on: ubuntu-24.04\n    container:\n      image: x/y:v1",
            "name a digest",
        ),
    ],
)
def test_it_would_be_found(old: str, new: str, told: str) -> None:
    assert faults("other", GOOD) == []
    assert old in GOOD
    assert any(told in fault for fault in faults("other", GOOD.replace(old, new, 1)))


def test_each_action_is_of_one_commit() -> None:
    named: dict[str, set[str]] = {}
    for file in FILES:
        for action, pin in re.findall(r"uses: (\S+)@(.+)", file.read_text()):
            named.setdefault(action, set()).add(pin)
    assert len(named) > 5
    assert {action: pins for action, pins in named.items() if len(pins) > 1} == {}


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_it_runs_what_readme_says(file: Path) -> None:
    lines = {line.strip() for line in scripts(read(file.read_text())).splitlines()}
    assert COMMANDS[file.stem] <= lines
    assert "tools/dev test" in (ROOT / ".ci/run").read_text()
    readme = (ROOT / "README.md").read_text()
    for command in ("tools/dev sandbox --once", "tools/dev test", "tools/dev docs"):
        assert command in readme


def test_ci_lints_builds_and_uses_a_real_api() -> None:
    jobs = read((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    image = scripts({"jobs": {"image": jobs["image"]}})
    assert image.index("hadolint") < image.index("docker build")
    real = jobs["kube-apiserver"]
    assert "KUBEBUILDER_ASSETS" in real["env"]
    assert re.fullmatch("[0-9a-f]{128}", real["env"]["ENVTEST_SHA512"])


def test_a_release_is_of_a_tag_and_of_what_passed() -> None:
    workflow = read((ROOT / ".github/workflows/release.yml").read_text())
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    needs = {key: job.get("needs") for key, job in workflow["jobs"].items()}
    assert needs == {"test": None, "image": "test", "chart": "image", "release": ["image", "chart"]}


def test_everything_of_a_release_is_signed_by_digest_and_looked_at_again() -> None:
    jobs = read((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    for key in ("image", "chart"):
        (sign,) = [s for s in jobs[key]["steps"] if s.get("name") == "Sign"]
        (reference,) = sign["env"].values()
        assert reference == "${{ steps.push.outputs.name }}@${{ steps.push.outputs.digest }}"
        assert sign["run"].index("cosign sign --yes") < sign["run"].index("cosign verify")
        attested = [s["with"] for s in jobs[key]["steps"] if "actions/attest@" in s.get("uses", "")]
        assert all(a["subject-digest"] == "${{ steps.push.outputs.digest }}" for a in attested)
        assert [a for a in attested if "sbom-path" not in a]
    assert "linux/amd64,linux/arm64" in scripts({"jobs": jobs})
    assert [s for s in jobs["image"]["steps"] if "sbom-path" in s.get("with", {})]
    assert "deploy/sbom.py" in scripts({"jobs": {"image": jobs["image"]}})
    last = scripts({"jobs": {"release": jobs["release"]}})
    assert (
        last.index("sha256sum") < last.index("cosign sign-blob") < last.index("gh release create")
    )


def test_nothing_from_a_cache_gets_into_a_release() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    assert "actions/cache@" not in text
    assert set(re.findall(r"cache\S*: (\S+)", text)) == {"false"}


def test_what_security_says_is_what_the_release_signs_with() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    workflow = read((ROOT / ".github/workflows/release.yml").read_text())
    assert f"--certificate-oidc-issuer {workflow['env']['ISSUER']}" in text.replace("\\\n", "")
    assert "/.github/workflows/release.yml@refs/tags/" in text
    for word in (
        "cosign verify ",
        "cosign verify-blob",
        "gh attestation verify",
        "sha256sum --check",
    ):
        assert word in text


@pytest.mark.parametrize("name", ["audit", "reliability"])
def test_it_is_weekly(name: str) -> None:
    workflow = read((ROOT / f".github/workflows/{name}.yml").read_text())
    ((minute, hour, day, month, weekday),) = [e["cron"].split() for e in workflow["on"]["schedule"]]
    assert (day, month) == ("*", "*")
    assert minute.isdigit()
    assert hour.isdigit()
    assert weekday.isdigit()


def test_each_script_of_reliability_runs_weekly_with_arguments_that_it_has() -> None:
    workflow = read((ROOT / ".github/workflows/reliability.yml").read_text())
    asked = [m["what"].split() for m in workflow["jobs"]["search"]["strategy"]["matrix"]["include"]]
    scripts = {f.name: f.read_text() for f in (ROOT / "reliability").glob("*.py")}
    runs = {name for name, text in scripts.items() if "--json" in text and name != "figures.py"}
    assert {script for script, *_ in asked} == runs
    for script, *words in asked:
        for flag in (w for w in words if w.startswith("--")):
            assert f'"{flag}", type=int' in scripts[script]


def test_the_bot_keeps_actions_and_the_base_image_up_to_date() -> None:
    found = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
    assert {u["package-ecosystem"] for u in found["updates"]} == {"github-actions", "docker"}
    assert {u["schedule"]["interval"] for u in found["updates"]} == {"weekly"}
