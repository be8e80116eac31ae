"""An instance just launched, in every shell that is here."""

import shutil
import time
from pathlib import Path

import pytest
from checkinstance import DAY, PRESENT, TOOLS, Instance


@pytest.fixture(params=PRESENT)
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Instance:
    """One just launched, from a clean image."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        real = shutil.which("busybox" if request.param == "busybox" else tool)
        assert real, tool
        (tmp_path / "bin" / tool).symlink_to(real)
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    it = Instance(tmp_path, request.param)
    (it.root / "tmp").mkdir(parents=True)
    it.has("proc/stat", f"cpu  1 2 3\nbtime {int(time.time()) - 300}\nprocesses 9\n")
    it.has(
        "etc/passwd", "root:x:0:0::/root:/bin/sh\nec2-user:x:1000:1000::/home/ec2-user:/bin/sh\n"
    )
    it.has("etc/shadow", "root:*LOCK*:1::::::\nbin:*:1::::::\nec2-user:!!:1::::::\n")
    it.has("root/.bashrc", "alias ll='ls -l'\n", age=30 * DAY)
    it.has("home/ec2-user/.ssh/authorized_keys", "# none\n\n")
    it.has("home/ec2-user/.bash_history", "\n")
    it.has("etc/profile.d/lang.sh", "# AKIAIOSFODNN7EXAMPLE is no key\nLANG=C\n", age=30 * DAY)
    it.has("etc/ssh/ssh_host_ed25519_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n")
    it.has("etc/ssh/sshd_config", "#HostKey /etc/other\nPasswordAuthentication no\n", age=30 * DAY)
    it.has("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    it.has("etc/cloud/cloud.cfg", "ssh_pwauth: false\nssh_deletekeys: true\n lock_passwd: true\n")
    it.has("run/cloud-init/.instance-id", "i-new\n")
    it.has("var/lib/cloud/instances/i-new/user-data.txt", "#!/bin/sh\necho given at launch\n")
    it.has("var/lib/cloud/instances/i-new/sem/config_ssh", "1: 2\n")
    it.has("var/lib/cloud/instances/i-old/user-data.txt", "")
    return it
