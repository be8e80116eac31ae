"""A real kube-apiserver with etcd, started as envtest starts them.

Written from the flags that envtest uses. Where the two binaries are absent only the construction
of the command lines is tested, so this module was not exercised against them there.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_STARTUP_SECONDS = 60
_STOP_SECONDS = 10


class StartError(RuntimeError):
    """A real API that did not come up."""


@dataclass(frozen=True)
class Binaries:
    """Where etcd and kube-apiserver are."""

    etcd: Path
    apiserver: Path


@dataclass
class RealServer:
    """The running processes."""

    url: str
    token: str
    flavour: str
    processes: list[subprocess.Popen[bytes]]

    def stop(self) -> None:
        """Stop the API server before its etcd."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def find_binaries(environ: Mapping[str, str] | None = None) -> Binaries | None:
    """Both binaries from KUBEBUILDER_ASSETS, or both from PATH; never one of each."""
    environ = os.environ if environ is None else environ
    places = [environ.get("KUBEBUILDER_ASSETS", ""), environ.get("PATH", "")]
    for place in places:
        if not place:
            continue
        etcd = shutil.which("etcd", path=place)
        apiserver = shutil.which("kube-apiserver", path=place)
        if etcd and apiserver:
            return Binaries(Path(etcd), Path(apiserver))
    return None


def etcd_command(binary: Path, data: Path, client: str, peer: str) -> list[str]:
    """etcd without durability: it is thrown away with its directory."""
    return [
        str(binary),
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        "--unsafe-no-fsync",
    ]


def apiserver_command(
    binary: Path, files: Path, *, etcd: str, port: int, signing_key: Path, tokens: Path
) -> list[str]:
    """kube-apiserver on the loopback interface; it makes its own serving certificate."""
    return [
        str(binary),
        f"--etcd-servers={etcd}",
        f"--cert-dir={files / 'certs'}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={tokens}",
        f"--service-account-key-file={signing_key}",
        f"--service-account-signing-key-file={signing_key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        # There is no controller that would create the service accounts it waits for.
        "--disable-admission-plugins=ServiceAccount",
    ]


def start(binaries: Binaries, directory: Path, *, port: int = 0) -> RealServer:
    """Start both and wait until the API is ready."""
    directory = directory.resolve()
    (directory / "certs").mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(24)
    tokens = _private(directory / "tokens.csv", f'{token},sandbox,sandbox,"system:masters"\n')
    signing_key = _private(directory / "service-account.pem", _rsa_key())
    client_port, peer_port = free_port(), free_port()
    api_port = port or free_port()
    etcd = f"http://127.0.0.1:{client_port}"
    server = RealServer(
        url=f"https://127.0.0.1:{api_port}",
        token=token,
        flavour=f"{_version(binaries.apiserver)} (real)",
        processes=[],
    )
    try:
        command = etcd_command(
            binaries.etcd, directory / "etcd", etcd, f"http://127.0.0.1:{peer_port}"
        )
        server.processes.append(_spawn(command, directory / "etcd.log"))
        _wait(f"{etcd}/health", {}, server, directory / "etcd.log")
        command = apiserver_command(
            binaries.apiserver,
            directory,
            etcd=etcd,
            port=api_port,
            signing_key=signing_key,
            tokens=tokens,
        )
        server.processes.append(_spawn(command, directory / "kube-apiserver.log"))
        headers = {"Authorization": f"Bearer {token}"}
        _wait(f"{server.url}/readyz", headers, server, directory / "kube-apiserver.log")
    except BaseException:
        server.stop()
        raise
    return server


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _private(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    return path


def _rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _version(apiserver: Path) -> str:
    """For example "kube-apiserver v1.31.0"."""
    found = subprocess.run(
        [str(apiserver), "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    return f"kube-apiserver {found.stdout.split()[-1]}"


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    output: IO[bytes]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def _wait(url: str, headers: dict[str, str], server: RealServer, log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    session = requests.Session()
    # Proxy settings and CA bundles of the environment do not apply to the loopback interface.
    session.trust_env = False
    while time.monotonic() < deadline:
        for process in server.processes:
            if process.poll() is not None:
                raise StartError(f"exited with {process.returncode}: see {log}")
        try:
            # The certificate is self-signed by the server that was just started.
            if session.get(url, headers=headers, verify=False, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise StartError(f"{url} was not ready after {_STARTUP_SECONDS} s: see {log}")
