"""Which API is started, the real one's command lines, and manifests over HTTP."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from k8s_http import Client

from gilder.sandbox.kubernetes import cluster as clusters
from gilder.sandbox.kubernetes import real
from gilder.sandbox.kubernetes.cluster import EMULATION, Cluster, start_cluster
from gilder.sandbox.kubernetes.manifests import ManifestError, apply, install_crds


def executable(path: Path, script: str = "#!/bin/sh\nexit 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def test_binaries_come_in_pairs(tmp_path: Path) -> None:
    assets, path = tmp_path / "assets", tmp_path / "path"
    environ = {"KUBEBUILDER_ASSETS": str(assets), "PATH": str(path)}
    assert real.find_binaries(environ) is None
    executable(assets / "etcd")
    executable(path / "kube-apiserver")
    assert real.find_binaries(environ) is None
    executable(path / "etcd")
    found = real.find_binaries(environ)
    assert found == real.Binaries(path / "etcd", path / "kube-apiserver")
    executable(assets / "kube-apiserver")
    found = real.find_binaries(environ)
    assert found == real.Binaries(assets / "etcd", assets / "kube-apiserver")
    assert real.find_binaries({"PATH": ""}) is None


def test_command_lines(tmp_path: Path) -> None:
    etcd = real.etcd_command(Path("/b/etcd"), tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:2")
    assert etcd == [
        "/b/etcd",
        f"--data-dir={tmp_path}",
        "--listen-client-urls=http://127.0.0.1:1",
        "--advertise-client-urls=http://127.0.0.1:1",
        "--listen-peer-urls=http://127.0.0.1:2",
        "--unsafe-no-fsync",
    ]
    apiserver = real.apiserver_command(
        Path("/b/kube-apiserver"),
        tmp_path,
        etcd="http://127.0.0.1:1",
        port=3,
        signing_key=tmp_path / "key",
        tokens=tmp_path / "tokens",
    )
    assert apiserver[0] == "/b/kube-apiserver"
    flags = dict(flag.split("=", 1) for flag in apiserver[1:])
    assert flags["--etcd-servers"] == "http://127.0.0.1:1"
    assert flags["--secure-port"] == "3"
    assert flags["--bind-address"] == "127.0.0.1"
    assert flags["--token-auth-file"] == str(tmp_path / "tokens")
    assert flags["--service-account-key-file"] == str(tmp_path / "key")
    assert flags["--service-account-signing-key-file"] == str(tmp_path / "key")
    assert flags["--authorization-mode"] == "RBAC"


def test_a_real_api_that_does_not_come_up_is_an_error(tmp_path: Path) -> None:
    etcd = executable(tmp_path / "etcd")
    version = "#!/bin/sh\necho Kubernetes v1.31.0\n"
    apiserver = executable(tmp_path / "kube-apiserver", version)
    with pytest.raises(real.StartError, match="exited with 1"):
        real.start(real.Binaries(etcd, apiserver), tmp_path / "run")
    tokens = tmp_path / "run" / "tokens.csv"
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    assert tokens.read_text().endswith(',sandbox,sandbox,"system:masters"\n')
    assert "PRIVATE KEY" in (tmp_path / "run" / "service-account.pem").read_text()


def test_the_real_api_is_chosen_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[real.Binaries] = []

    def start(binaries: real.Binaries, directory: Path, *, port: int = 0) -> real.RealServer:
        started.append(binaries)
        assert (directory, port) == (tmp_path / "run", 0)
        return real.RealServer("https://127.0.0.1:1", "secret", "kube-apiserver v1 (real)", [])

    monkeypatch.setattr(clusters.real, "start", start)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    executable(tmp_path / "assets" / "etcd")
    executable(tmp_path / "assets" / "kube-apiserver")
    with start_cluster(tmp_path / "run") as cluster:
        assert (cluster.flavour, cluster.server) == ("kube-apiserver v1 (real)", None)
        config = yaml.safe_load(cluster.kubeconfig.read_text())
    assert len(started) == 1
    assert config["users"][0]["user"] == {"token": "secret"}
    assert config["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:1",
        "insecure-skip-tls-verify": True,
    }


def test_the_emulation_is_the_fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.real, "find_binaries", lambda: None)
    with start_cluster(tmp_path) as cluster:
        assert cluster.flavour == EMULATION
        assert cluster.server is not None
        assert Client(cluster).ok("GET", "/version")["major"] == "1"
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        assert config["clusters"][0]["cluster"] == {"server": cluster.url}
        assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    cluster.stop()


def test_crds_are_created_or_replaced(
    cluster: Cluster, http: Client, crd_docs: list[dict[str, Any]]
) -> None:
    changed = json.loads(json.dumps(crd_docs))
    changed[0]["spec"]["names"]["categories"] = ["aws", "more"]
    install_crds(cluster, changed)
    resources = http.ok("GET", "/apis/goldenimage.dev/v1alpha1")["resources"]
    assert resources[0]["categories"] == ["aws", "more"]
    install_crds(cluster, crd_docs)
    resources = http.ok("GET", "/apis/goldenimage.dev/v1alpha1")["resources"]
    assert resources[0]["categories"] == ["aws"]


def test_manifests_are_created_or_merged(
    cluster: Cluster,
    http: Client,
    crd_docs: list[dict[str, Any]],
    golden_image: Callable[..., dict[str, Any]],
) -> None:
    image = golden_image()
    image["metadata"]["namespace"] = "team"
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    applied = apply(cluster, [team, crd_docs[0], image])
    assert [o["kind"] for o in applied] == ["Namespace", "CustomResourceDefinition", "GoldenImage"]
    image["spec"]["description"] = "changed"
    apply(cluster, [image])
    path = "/apis/goldenimage.dev/v1alpha1/namespaces/team/goldenimages/web"
    assert http.ok("GET", path)["spec"]["description"] == "changed"
    with pytest.raises(ManifestError, match=r"422: .*spec\.region"):
        apply(cluster, [{**image, "spec": {"region": "Nowhere"}}])
    with pytest.raises(ManifestError, match="no matches for kind"):
        apply(cluster, [{**image, "kind": "Unheard"}])
