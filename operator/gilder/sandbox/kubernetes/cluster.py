"""A Kubernetes API for the sandbox: the real one where its binaries are, else an emulation."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gilder.sandbox.kubernetes import kubeconfig, real
from gilder.sandbox.kubernetes.real import RealServer
from gilder.sandbox.kubernetes.server import Server

EMULATION = "in-process emulation"


@dataclass
class Cluster:
    """Handle of a running API; a context manager that stops it."""

    url: str
    kubeconfig: Path
    flavour: str
    token: str
    server: Server | None = None
    process: RealServer | None = None

    def stop(self) -> None:
        """Stop the API; further calls do nothing."""
        if self.server is not None:
            self.server.stop()
        if self.process is not None:
            self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_cluster(directory: Path, *, port: int = 0, emulate: bool = False) -> Cluster:
    """Start an API with its files in the directory; port 0 takes a free one.

    A real kube-apiserver with etcd is used when KUBEBUILDER_ASSETS or PATH has both, unless
    `emulate` asks for the emulation (whose `server` has the faults and counters).
    """
    directory.mkdir(parents=True, exist_ok=True)
    binaries = None if emulate else real.find_binaries()
    if binaries is not None:
        process = real.start(binaries, directory, port=port)
        path = kubeconfig.write(
            directory / "kubeconfig",
            kubeconfig.kubeconfig(process.url, token=process.token, insecure=True),
        )
        return Cluster(process.url, path, process.flavour, process.token, process=process)
    server = Server(port=port)
    server.start()
    token = "sandbox"
    path = kubeconfig.write(
        directory / "kubeconfig", kubeconfig.kubeconfig(server.url, token=token)
    )
    return Cluster(server.url, path, EMULATION, token, server=server)
