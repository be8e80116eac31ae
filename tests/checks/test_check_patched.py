"""Patched asks the package manager, and does not pass when that knows nothing."""

import pytest
from checkinstance import Instance

PASSWORD = "hunter" + "22"
UPDATE_LIST = """
openssl.x86_64        1:3.0.8-1.amzn2023.0.19     amazonlinux
kernel.x86_64         6.1.112-122.189.amzn2023    amazonlinux
Obsoleting Packages
old.x86_64            1-1                         amazonlinux
"""
AMAZON = 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nVERSION_ID="2023"\n'
UBUNTU = (
    "Inst libc6 [2.35-1] (2.35-2 Ubuntu:22.04/jammy-updates [amd64])\n"
    "Inst libspring-security-core [1] (2 Ubuntu:22.04/jammy-updates [amd64])\n"
)
UBUNTU_SECURITY = (
    "Inst openssl [3.0.2-1] (3.0.2-2 Ubuntu:22.04/jammy-updates, "
    "Ubuntu:22.04/jammy-security [amd64])\nConf openssl (3.0.2-2 Ubuntu:22.04/jammy-security)\n"
)
DEBIAN_SECURITY = "Inst libssl3 [3.0.11-1] (3.0.11-2 Debian-Security:12/stable-security [amd64])\n"


@pytest.fixture(autouse=True)
def secrets(instance: Instance) -> None:
    instance.secrets.append(PASSWORD)


def answers(instance: Instance, name: str, text: str = "", code: int = 0) -> None:
    (instance.folder / f"{name}.answer").write_text(text)
    instance.command(name, f'cat "{instance.folder}/{name}.answer"; exit {code}')


def apt(
    instance: Instance,
    pending: str = "",
    *,
    update: str = "Hit:1 jammy-security",
    code: int = 0,
    lists: str = "mirror_ubuntu_dists_jammy-security_InRelease",
    upgrade_code: int = 0,
) -> None:
    instance.has("etc/debian_version", "bookworm/sid\n")
    (instance.folder / "pending").write_text(pending)
    instance.command(
        "apt-get",
        f"""
for word; do
  case $word in
    Dir::State::Lists=*) lists=${{word#*=}} ;;
    update) echo '{update}'; : >"$lists/{lists}"; exit {code} ;;
    dist-upgrade) cat "{instance.folder}/pending"; exit {upgrade_code} ;;
  esac
done
exit 9""",
    )


@pytest.mark.parametrize("name", ["dnf", "yum"])
def test_no_updates_pass(instance: Instance, name: str) -> None:
    answers(instance, name)
    result = instance.run("Patched")
    assert (result.code, result.lines) == (0, [f"No security updates are pending, says {name}."])
    assert "--security" in instance.calls[0]
    assert "skip_if_unavailable=0" in instance.calls[0]
    assert "releasever" not in instance.calls[0]


@pytest.mark.parametrize("name", ["dnf", "yum"])
def test_updates_fail_and_are_listed(instance: Instance, name: str) -> None:
    answers(instance, name, UPDATE_LIST, 100)
    result = instance.run("Patched")
    assert result.code == 1
    assert result.lines == [
        "openssl.x86_64 1:3.0.8-1.amzn2023.0.19",
        "kernel.x86_64 6.1.112-122.189.amzn2023",
        f"Security updates are pending: 2 by {name}.",
    ]


def test_amazon_linux_2023_is_asked_beyond_its_release(instance: Instance) -> None:
    instance.has("etc/os-release", AMAZON)
    answers(instance, "dnf")
    instance.run("Patched")
    assert "--releasever=latest" in instance.calls[0]


def test_centos_has_no_advisories_so_all_count(instance: Instance) -> None:
    instance.has("etc/os-release", 'ID="centos"\nVERSION_ID="9"\n')
    answers(instance, "dnf")
    instance.run("Patched")
    assert "--security" not in instance.calls[0]


@pytest.mark.parametrize("name", ["dnf", "yum"])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"Error: Failed to download metadata: https://me:{PASSWORD}@host/repo", 1),
        ("Error: There are no enabled repositories in /etc/yum.repos.d", 1),
        ("Ignoring repositories: amazonlinux", 0),
        ("Could not resolve host: mirror", 0),
        ("something else", 3),
    ],
)
def test_unreachable_repositories_do_not_pass(
    instance: Instance, name: str, text: str, code: int
) -> None:
    answers(instance, name, text, code)
    result = instance.run("Patched")
    assert result.code == 2
    assert name in result.summary


def test_apt_without_updates_passes(instance: Instance) -> None:
    apt(instance, UBUNTU)
    result = instance.run("Patched")
    assert (result.code, result.lines) == (0, ["No security updates are pending, says apt-get."])
    assert list((instance.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("security", [UBUNTU_SECURITY, DEBIAN_SECURITY])
def test_apt_with_security_updates_fails(instance: Instance, security: str) -> None:
    apt(instance, UBUNTU + security)
    result = instance.run("Patched")
    assert result.code == 1
    assert len(result.lines) == 2
    assert result.lines[0].startswith(security.split()[1])
    assert list((instance.root / "tmp").iterdir()) == []
    assert " -s " in instance.calls[-1]


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (f"Err:1 https://me:{PASSWORD}@host jammy InRelease", 0),
        ("W: Failed to fetch http://a", 0),
        ("W: Some index files failed to download. They have been ignored.", 0),
        ("E: The repository does not have a Release file.", 100),
    ],
)
def test_apt_without_its_sources_does_not_pass(instance: Instance, update: str, code: int) -> None:
    apt(instance, update=update, code=code)
    result = instance.run("Patched")
    assert result.code == 2
    assert update.split()[-1] in result.text or PASSWORD in update
    assert list((instance.root / "tmp").iterdir()) == []


def test_apt_without_a_security_source_does_not_pass(instance: Instance) -> None:
    apt(instance, lists="mirror_ubuntu_dists_jammy_InRelease")
    assert "no source of security updates" in instance.run("Patched").summary


def test_apt_that_cannot_simulate_does_not_pass(instance: Instance) -> None:
    apt(instance, "E: Unmet dependencies", upgrade_code=100)
    assert instance.run("Patched").code == 2


def zypper(instance: Instance, patches: str = "", refresh: int = 0, code: int = 0) -> None:
    (instance.folder / "patches").write_text(patches)
    instance.command(
        "zypper",
        f"""
case "$*" in
  *refresh*) echo refreshed; exit {refresh} ;;
  *list-patches*) cat "{instance.folder}/patches"; exit {code} ;;
  *needs-rebooting*) exit 0 ;;
esac""",
    )


def test_zypper(instance: Instance) -> None:
    zypper(instance, "No updates found.\n")
    assert instance.run("Patched").code == 0
    row = "SLES | SUSE-2024-{} | security | important | --- | needed | Security update\n"
    zypper(instance, "Repository | Name | Status\n" + row.format(1) + row.format(2))
    result = instance.run("Patched")
    assert (result.code, result.lines[:2]) == (1, ["SUSE-2024-1", "SUSE-2024-2"])
    zypper(instance, refresh=6)
    assert instance.run("Patched").code == 2
    zypper(instance, code=4)
    assert instance.run("Patched").code == 2


@pytest.mark.parametrize("path", ["run/reboot-required", "var/run/reboot-required"])
def test_a_needed_reboot_fails(instance: Instance, path: str) -> None:
    apt(instance)
    instance.has(path, "*** System restart required ***\n")
    result = instance.run("Patched")
    assert result.code == 1
    assert f"/{path}" in result.text
    assert "need a reboot" in result.summary


def test_needs_restarting_is_asked(instance: Instance) -> None:
    answers(instance, "dnf")
    answers(instance, "needs-restarting", "Reboot is required to fully utilize these updates.\n", 1)
    assert instance.run("Patched").code == 1
    answers(instance, "needs-restarting", "Reboot should not be necessary.\n")
    assert instance.run("Patched").code == 0
    answers(instance, "needs-restarting", "Traceback\n", 1)
    assert instance.run("Patched").code == 0


def test_one_that_hangs_is_not_checked(instance: Instance) -> None:
    instance.command("dnf", "exec sleep 30")
    instance.environment["GILDER_PACKAGES_SECONDS"] = "1"
    assert instance.run("Patched").summary == (
        "Could not be checked: dnf was not done after 1 seconds."
    )


def test_without_a_package_manager_it_is_not_checked(instance: Instance) -> None:
    assert instance.run("Patched").code == 2


def test_many_updates_are_cut_off(instance: Instance) -> None:
    answers(instance, "dnf", "".join(f"p{n}.noarch 1-{n} repo\n" for n in range(90)), 100)
    instance.has("run/reboot-required", "")
    result = instance.run("Patched")
    assert len(result.lines) == 39
    assert "... and 54 more" in result.lines
    assert result.summary.startswith("Security updates are pending: 90")
