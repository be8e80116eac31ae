"""NoSecrets finds each kind of secret, and prints none."""

import os
import time

import pytest
from checkinstance import DAY, PRESENT, Instance

# Put together here, so that this file holds nothing that looks like a secret.
ACCESS_KEY = "AKIA" + "Z7Q2" * 4
GITHUB = "ghp_" + "a1B2" * 9
KEY_HEADER = "-----BEGIN OPENSSH " + "PRIVATE KEY-----"
HASH = "$6$" + "salt$" + "q" * 40
SECRET = "s3cr3t" + "value"

FOUND = {
    "authorized_keys of a user": (
        "home/ec2-user/.ssh/authorized_keys",
        f"# comment\nssh-ed25519 {SECRET} me\n",
        "/home/ec2-user/.ssh/authorized_keys line 2: authorized key",
    ),
    "authorized_keys of root": ("root/.ssh/authorized_keys2", f"ssh-rsa {SECRET}\n", "line 1"),
    "authorized_keys elsewhere": (
        "etc/ssh/authorized_keys.d/admin",
        f"ssh-rsa {SECRET}\n",
        "/etc/ssh/authorized_keys.d/admin line 1: authorized key",
    ),
    "private key of a user": (
        "home/ec2-user/.ssh/id_ed25519",
        f"{KEY_HEADER}\n{SECRET}\n",
        "/home/ec2-user/.ssh/id_ed25519 line 1: private key",
    ),
    "private key of root": ("root/deploy.pem", f"{KEY_HEADER}\n{SECRET}\n", "/root/deploy.pem"),
    "private key of sshd": ("etc/ssh/ca", f"{KEY_HEADER}\n{SECRET}\n", "/etc/ssh/ca line 1"),
    "AWS credentials": (
        "root/.aws/credentials",
        f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET}\n",
        "/root/.aws/credentials line 3: AWS credentials",
    ),
    "netrc": ("root/.netrc", f"machine a login b password {SECRET}\n", "/root/.netrc line 1"),
    "Git credentials": (
        "home/ec2-user/.git-credentials",
        f"https://me:{SECRET}@example.com\n",
        "/home/ec2-user/.git-credentials line 1: Git credentials",
    ),
    "Docker login": (
        "root/.docker/config.json",
        f'{{"auths": {{"a": {{"auth": "{SECRET}"}}}}}}\n',
        "/root/.docker/config.json line 1: registry login",
    ),
    "kubeconfig": ("root/.kube/config", f"token: {SECRET}\n", "/root/.kube/config line 1"),
    "npm token": ("root/.npmrc", f"//r/:_authToken={SECRET}\n", "/root/.npmrc line 1: token"),
    "pgpass": ("root/.pgpass", f"h:5432:d:u:{SECRET}\n", "/root/.pgpass line 1: password"),
    "history": (
        "home/ec2-user/.bash_history",
        f"mysql -p{SECRET}\n",
        "/home/ec2-user/.bash_history line 1: history of commands",
    ),
    "history of another shell": ("root/.zsh_history", f"x {SECRET}\n", "/root/.zsh_history"),
    "password hash": (
        "etc/shadow",
        f"root:*:1::::::\nadmin:{HASH}:1::::::\n",
        "/etc/shadow line 2: password hash of admin",
    ),
    "empty password": ("etc/shadow", "guest::1::::::\n", "line 1: no password of guest"),
    "empty password in passwd": ("etc/passwd", "g::1:1::/:/bin/sh\n", "no password of g"),
    "password for cloud-init": (
        "etc/cloud/cloud.cfg.d/99.cfg",
        f"system_info:\n  default_user:\n    plain_text_passwd: {SECRET}\n",
        "/etc/cloud/cloud.cfg.d/99.cfg line 3",
    ),
    "user data of the build": (
        "var/lib/cloud/instances/i-old/user-data.txt",
        f"#!/bin/sh\nexport TOKEN={SECRET}\n",
        "/var/lib/cloud/instances/i-old/user-data.txt line 1: user data of another instance",
    ),
    "script of the build": (
        "var/lib/cloud/instances/i-old/scripts/part-001",
        f"#!/bin/sh\necho {SECRET}\n",
        "/var/lib/cloud/instances/i-old/scripts/part-001",
    ),
    "access key in the environment": (
        "etc/environment",
        f"LANG=C\nAWS_ACCESS_KEY_ID={ACCESS_KEY}\n",
        "/etc/environment line 2: token",
    ),
    "secret key in a profile": (
        "etc/profile.d/aws.sh",
        f'export AWS_SECRET_ACCESS_KEY="{"x" * 40}"\n',
        "/etc/profile.d/aws.sh line 1: token",
    ),
    "GitHub token in a dotfile": (
        "home/ec2-user/.bashrc",
        f"export T={GITHUB}\n",
        "/home/ec2-user/.bashrc line 1: token",
    ),
    "token in a file of bytes": ("root/.cache.bin", f"\0\1\n{GITHUB}\0", "/root/.cache.bin line 2"),
}


@pytest.fixture(autouse=True)
def secrets(instance: Instance) -> None:
    instance.secrets += [ACCESS_KEY, GITHUB, KEY_HEADER, HASH, SECRET, "x" * 40]


def test_a_clean_image_passes(instance: Instance) -> None:
    result = instance.run("NoSecrets")
    assert (result.code, result.lines) == (0, ["No baked-in passwords, keys or tokens were found."])


@pytest.mark.parametrize("kind", FOUND)
def test_it_finds(instance: Instance, kind: str) -> None:
    path, text, told = FOUND[kind]
    instance.has(path, text)
    result = instance.run("NoSecrets")
    assert result.code == 1
    assert told in result.text
    assert result.summary.startswith("Found in the image: ")


def test_accounts_with_a_home_elsewhere_count(instance: Instance) -> None:
    instance.has("etc/passwd", "ci:x:9:9::/var/lib/ci:/bin/sh\nnobody:x:8:8::/:/bin/false\n")
    instance.has("var/lib/ci/.ssh/authorized_keys", f"ssh-rsa {SECRET}\n")
    instance.has("var/lib/ci/.ssh/id_rsa", f"{KEY_HEADER}\n")
    instance.has(".ssh/authorized_keys", f"ssh-rsa {SECRET}\n")
    result = instance.run("NoSecrets")
    assert result.lines[:-1] == [
        "/.ssh/authorized_keys line 1: authorized key",
        "/var/lib/ci/.ssh/authorized_keys line 1: authorized key",
        "/var/lib/ci/.ssh/id_rsa line 1: private key",
    ]
    assert "3 that should not be there" in result.summary


def test_a_host_key_of_the_image_is_a_secret(instance: Instance) -> None:
    instance.has("etc/ssh/ssh_host_rsa_key", f"{KEY_HEADER}\n", age=DAY)
    result = instance.run("NoSecrets")
    assert result.lines[0] == "/etc/ssh/ssh_host_rsa_key line 1: SSH host key of the image"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("root/.aws/credentials", "[default]\ncredential_process = get\n"),
        ("root/.docker/config.json", '{"auths": {}, "credHelpers": {"a": "ecr-login"}}\n'),
        ("root/.npmrc", "//r/:_authToken=${NPM_TOKEN}\n"),
        ("etc/shadow", "a:!:1::::::\nb:!$6$old:1::::::\nc:*:1::::::\n"),
        ("etc/environment", f"CONTAINER={'AKIA' + 'Z' * 20}\n"),
        ("var/lib/cloud/instances/i-new/scripts/part-001", "#!/bin/sh\n"),
        ("etc/ssh/ca.pub", "ssh-ed25519 AAAA ca\n"),
    ],
)
def test_what_is_no_secret_passes(instance: Instance, path: str, text: str) -> None:
    instance.has(path, text)
    assert instance.run("NoSecrets").code == 0


def test_this_instance_is_known_without_cloud_init_too(instance: Instance) -> None:
    (instance.root / "run/cloud-init/.instance-id").unlink()
    assert instance.run("NoSecrets").code == 1
    instance.has("sys/class/dmi/id/board_asset_tag", "i-new\n")
    assert instance.run("NoSecrets").code == 0


def test_odd_names_do_no_harm(instance: Instance) -> None:
    instance.has("root/a b'\"$(touch x)", f"{GITHUB}\n")
    instance.has("root/red\x1b[31m", f"{GITHUB}\n")
    (instance.root / "root/.bash_history").symlink_to("/dev/null")
    os.mkfifo(instance.root / "root/.netrc")
    result = instance.run("NoSecrets")
    assert result.lines[0].startswith("/root/a b'\"$(touch x) line 1: token")
    assert "\x1b" not in result.text


def test_much_is_cut_off(instance: Instance) -> None:
    for n in range(60):
        instance.has(f"root/keys/{n}", f"{GITHUB}\n")
    result = instance.run("NoSecrets")
    assert len(result.lines) == 39
    assert result.lines[-2] == "... and 23 more"
    assert "60 that should not be there" in result.summary


@pytest.mark.parametrize("instance", PRESENT[:1], indirect=True)
def test_it_ends_soon_with_many_and_large_files(instance: Instance) -> None:
    for n in range(5600):
        instance.has(f"root/data/{n % 50}/{n}", "nothing\n")
    (instance.root / "root/large").write_bytes(b"x" * 30_000_000)
    begun = time.monotonic()
    result = instance.run("NoSecrets")
    assert time.monotonic() - begun < 40
    assert result.code == 0
    assert result.lines[0].startswith("note: only the first 5000")


def test_without_what_it_needs_it_is_not_checked(instance: Instance) -> None:
    instance.lacks("xargs")
    result = instance.run("NoSecrets")
    assert result.code == 2 or instance.shell == "busybox"  # which has its own xargs


def test_without_the_time_of_the_boot_it_is_not_checked(instance: Instance) -> None:
    (instance.root / "proc/stat").unlink()
    assert instance.run("NoSecrets").code == 2
