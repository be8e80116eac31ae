"""The software bill of materials of the operator's image, as CycloneDX 1.6.

python deploy/sbom.py [FILE]

What pip puts into the image is what requirements-runtime.lock says, so nothing need be built or
installed for it: names, versions, the hashes that pip checks, and what is there because of what.
Licences are told where the package is installed here. The base image's own packages are not in it:
for those scan the image.
"""

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-runtime.lock"
ITEM = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>\S+)(?: ; (?P<marker>.*?))?\s*\\?$")

Component = dict[str, Any]


def document() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    main = {
        "type": "application",
        "bom-ref": project["name"],
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
        "purl": f"pkg:pypi/{project['name']}@{project['version']}",
    }
    components, needs = _read(LOCK.read_text())
    refs = {c["name"]: c["bom-ref"] for c in components}
    main_needs = needs.pop(project["name"], set())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The same lock makes the same document.
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, LOCK.read_text() + project['version'])}",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
        "dependencies": [
            {"ref": main["bom-ref"], "dependsOn": sorted(refs[n] for n in main_needs)},
            *(
                {"ref": ref, "dependsOn": sorted(refs[n] for n in needs.get(name, ()))}
                for name, ref in refs.items()
            ),
        ],
    }


def _read(lock: str) -> tuple[list[Component], dict[str, set[str]]]:
    """Components, and by name what each needs: the lock says it the other way, by `via`."""
    components: list[Component] = []
    needs: dict[str, set[str]] = {}
    for line in lock.splitlines():
        if found := ITEM.match(line):
            components.append(_component(**found.groupdict()))
        elif hashed := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            # One for each file of the release: its platform says which of them the image has.
            told = {"name": "gilder:lock:sha256", "value": hashed[1]}
            components[-1].setdefault("properties", []).append(told)
        elif via := re.match(r"^ +#(?: via)? +([a-z0-9.-]+)", line):
            needs.setdefault(via[1], set()).add(components[-1]["name"])
    return components, needs


def _component(name: str, version: str, marker: str | None) -> Component:
    purl = f"pkg:pypi/{name}@{version}"
    found: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    if marker:
        found["properties"] = [{"name": "gilder:lock:marker", "value": marker}]
        found["scope"] = "optional"
    if licence := _licence(name, version):
        found["licenses"] = [licence]
    return found


def _licence(name: str, version: str) -> dict[str, Any] | None:
    """That of the package that is installed here, if it is the same version and tells it."""
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if package.version != version:
        return None
    told = package.metadata
    if expression := told.get("License-Expression"):
        return {"expression": expression}
    words = (told.get("License") or "").strip()
    return {"license": {"name": words}} if words and len(words.splitlines()) == 1 else None


if __name__ == "__main__":
    text = json.dumps(document(), indent=2) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)
