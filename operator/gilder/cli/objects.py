"""The GoldenImages and ImageShares that a command looks at: of manifests, or of the cluster."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gilder.api import GoldenImage, ImageShare, SpecError, parse_object
from gilder.cli.manifests import parse, read
from gilder.reconcile.explain import Objects
from gilder.reconcile.ports import ClusterError


def of_manifests(paths: Iterable[Path]) -> Objects:
    """Raises ManifestError and SpecError."""
    return _sorted(parse(read(paths)))


def of_cluster(namespace: str = "") -> Objects:
    """All of them; where only those of one namespace may be read and that is given, these.

    What cannot be parsed is told and passed over. Raises ClusterError.
    """
    from gilder.handlers.lookup import listed

    try:
        return of_bodies(listed())
    except ClusterError as error:
        if not error.permanent or not namespace:
            raise
        found = of_bodies(listed((namespace,)))
        warn(f"ImageShares of other namespaces than {namespace} are not looked at: {error}")
        return found


def of_bodies(bodies: Iterable[Mapping[str, Any]]) -> Objects:
    """What cannot be parsed is told and passed over."""
    found: list[GoldenImage | ImageShare] = []
    for body in bodies:
        try:
            found.append(parse_object(body))
        except SpecError as error:
            meta = body["metadata"]
            name = f"{body['kind']} {meta.get('namespace')}/{meta['name']}"
            warn(f"{name} cannot be read and is passed over: {error}")
    return _sorted(found)


def warn(text: str) -> None:
    print(f"gilder: {text}", file=sys.stderr)


def _sorted(found: Iterable[GoldenImage | ImageShare]) -> Objects:
    images: list[GoldenImage] = []
    shares: list[ImageShare] = []
    for one in found:
        if isinstance(one, GoldenImage):
            images.append(one)
        else:
            shares.append(one)
    return Objects(tuple(images), tuple(shares))
