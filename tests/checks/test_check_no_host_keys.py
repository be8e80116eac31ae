"""NoHostKeys tells what this instance made from what came with its image."""

import os
import shutil
import subprocess
import time

import pytest
from checkinstance import DAY, Instance


def test_what_was_made_since_the_boot_passes(instance: Instance) -> None:
    result = instance.run("NoHostKeys")
    assert result.code == 0
    assert len(result.lines) == 1


def test_an_instance_without_ssh_passes(instance: Instance) -> None:
    for path in ("etc/ssh/ssh_host_ed25519_key", "etc/ssh/sshd_config", "etc/machine-id"):
        (instance.root / path).unlink()
    assert instance.run("NoHostKeys").code == 0


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("etc/ssh/ssh_host_rsa_key", "SSH host key of the image: /etc/ssh/ssh_host_rsa_key"),
        ("etc/dropbear/dropbear_rsa_host_key", "/etc/dropbear/dropbear_rsa_host_key"),
        ("etc/machine-id", "machine id of the image: /etc/machine-id"),
        ("var/lib/dbus/machine-id", "machine id of the image: /var/lib/dbus/machine-id"),
    ],
)
def test_what_is_older_than_the_boot_fails(instance: Instance, path: str, told: str) -> None:
    instance.has(path, "of the image\n", age=DAY)
    result = instance.run("NoHostKeys")
    assert result.code == 1
    assert told in result.lines[0]
    assert result.summary.startswith("Baked into the image")


def test_host_keys_elsewhere_count(instance: Instance) -> None:
    instance.has("etc/ssh/sshd_config.d/50.conf", "hostkey /etc/keys/host\n")
    instance.has("etc/keys/host", "key\n", age=DAY)
    assert "/etc/keys/host" in instance.run("NoHostKeys").text


def test_an_id_that_is_still_to_be_set_passes(instance: Instance) -> None:
    instance.has("etc/machine-id", "uninitialized\n", age=DAY)
    assert instance.run("NoHostKeys").code == 0
    instance.has("etc/machine-id", "", age=DAY)
    assert instance.run("NoHostKeys").code == 0


def test_a_link_of_dbus_to_the_machine_id_passes(instance: Instance) -> None:
    (instance.root / "var/lib/dbus").mkdir(parents=True)
    (instance.root / "var/lib/dbus/machine-id").symlink_to("../../../etc/machine-id")
    assert instance.run("NoHostKeys").code == 0


def test_a_reboot_within_the_first_boot_passes(instance: Instance) -> None:
    instance.has("etc/ssh/ssh_host_ed25519_key", "key\n", age=900)
    instance.has("etc/machine-id", "0123\n", age=900)
    assert instance.run("NoHostKeys").code == 1
    instance.has("var/lib/cloud/instances/i-new/sem/config_ssh", "1: 2\n", age=890)
    assert instance.run("NoHostKeys").code == 0


def test_the_marks_of_the_build_do_not_excuse(instance: Instance) -> None:
    instance.has("etc/ssh/ssh_host_rsa_key", "key\n", age=DAY)
    instance.has("var/lib/cloud/instances/i-old/sem/config_ssh", "1: 2\n", age=2 * DAY)
    assert instance.run("NoHostKeys").code == 1
    # cloud-init is switched off: nothing under /run, and its folders are of the build.
    (instance.root / "run/cloud-init/.instance-id").unlink()
    assert instance.run("NoHostKeys").code == 1


def test_touching_an_old_key_does_not_hide_it(instance: Instance) -> None:
    key = instance.has("etc/ssh/ssh_host_rsa_key", "key\n")
    stat = shutil.which("stat")
    assert stat
    birth = subprocess.run([stat, "-c", "%W", str(key)], capture_output=True, text=True, check=True)
    if birth.stdout.strip() in ("", "0", "-") or instance.shell == "busybox":
        pytest.skip("no times of birth here")
    for path in ("etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_rsa_key", "etc/machine-id"):
        os.utime(instance.root / path, (time.time() + 2000,) * 2)
    instance.has("proc/stat", f"btime {int(time.time()) + 1000}\n")
    (instance.root / "run/cloud-init/.instance-id").unlink()
    result = instance.run("NoHostKeys")
    assert result.code == 1
    assert "machine" not in "".join(result.lines[:-1])  # systemd writes it in place


def test_without_the_time_of_the_boot_it_is_not_checked(instance: Instance) -> None:
    instance.has("proc/stat", "cpu 1\n")
    result = instance.run("NoHostKeys")
    assert result.code == 2
    assert "/proc/stat" in result.summary


def test_much_is_cut_off(instance: Instance) -> None:
    for n in range(60):
        instance.has(f"etc/ssh/ssh_host_{n}_key", "key\n", age=DAY)
    assert len(instance.run("NoHostKeys").lines) == 39
