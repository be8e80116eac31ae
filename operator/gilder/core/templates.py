"""Launch templates that follow an AMI: the versions made for them, told apart and pruned; pure."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from gilder.api.goldenimage import Published
from gilder.core.actions import PruneTemplateVersions, SetTemplateImage
from gilder.core.digest import digest
from gilder.core.needs import regions_of
from gilder.core.observed import Image, Observed, Problem, Use
from gilder.core.plan import Draft
from gilder.core.published import Template, TemplateVersion
from gilder.core.wanted import Wanted

KEEP = 5  # versions of ours that stay for one AMI
# VersionDescription, in the EC2 API reference of CreateLaunchTemplateVersion.
LENGTH = 255

_MARK = re.compile(r", from version ([0-9]+) \[goldenimage\.dev/([0-9a-f]{12})\]$")


def mark(cluster: str, key: str) -> str:
    """What tells the versions of one GoldenImage from those of all others."""
    return digest(cluster, key, length=12)


def description(cluster: str, key: str, version: int, source: int) -> str:
    """Names the image and its version, and which version of the template this one was made from."""
    tail = f", from version {source} [goldenimage.dev/{mark(cluster, key)}]"
    return f"GoldenImage {key}, version {version}"[: LENGTH - len(tail)] + tail


def mark_of(described: str) -> str:
    """The mark in a description; empty for a version that no operator made."""
    found = _MARK.search(described)
    return found[2] if found else ""


def source_of(described: str) -> int:
    """The version of the template that one of ours was made from; 0 when it is not ours."""
    found = _MARK.search(described)
    return int(found[1]) if found else 0


def reusable(versions: Iterable[TemplateVersion], of: str, image: str, source: int) -> int:
    """The version that was made already for this step and only is not the default; 0: none.

    One that was made from another default does not do: it has other settings.
    """
    made = (
        v.number
        for v in versions
        if v.image == image and mark_of(v.description) == of and source_of(v.description) == source
    )
    return max(made, default=0)


def prunable(
    template: Template, of: str, useless: Callable[[str], bool]
) -> tuple[TemplateVersion, ...]:
    """Versions with this mark that nobody needs: neither the default nor named by an Auto Scaling
    group, of an AMI that is `useless`, or one of many of one AMI. None while it is not known who
    names which.

    Whoever names a version of an AMI that stays goes on having it: node groups of EKS do.
    """
    if template.named is None:
        return ()
    ours = [v for v in template.versions if mark_of(v.description) == of]
    of_image: Counter[str] = Counter()
    found = []
    for version in sorted(ours, key=lambda v: -v.number):
        of_image[version.image] += 1
        if version.number == template.default.number or version.number in template.named:
            continue
        if useless(version.image) or of_image[version.image] > KEEP:
            found.append(version)
    return tuple(sorted(found, key=lambda v: v.number))


def freed(use: Use | None, templates: Iterable[Template | Problem]) -> bool:
    """Whether nothing is known to use an AMI but versions of these launch templates."""
    if use is None or use.problem is not None or use.others:
        return False
    known = tuple(f"launch-template/{t.id}" for t in templates if isinstance(t, Template) and t.id)
    return all(u.startswith("ec2:LaunchTemplate ") and u.endswith(known) for u in use.by)


def plan_templates(
    want: Wanted,
    served: Mapping[str, Image],
    seen: Observed,
    going: Collection[str],
    draft: Draft,
    found: list[Published],
) -> set[tuple[str, str, str, str]]:
    """What points the launch templates of spec.publish to what is served in their Region, and
    clears away versions of ours whose AMI is gone or is among those `going`, which they would keep.
    Those that left the spec are only forgotten."""
    publish = want.spec.publish
    wanted = set()
    for number, one in enumerate(publish.launch_templates if publish is not None else ()):
        field, written = f"spec.publish.launchTemplates[{number}]", one.id or one.name or ""
        region = one.region or want.spec.region
        wanted.add(("LaunchTemplate", "", region, written))
        if region not in regions_of(want.spec):
            draft.stop(
                "TemplateRegionNotServed",
                f"{field}.region: {region} is neither the home Region nor that of a replica. Add "
                "it to spec.replicas, or name a launch template of another Region",
            )
        elif seen.region(region).problem is None and region in served:
            _template(want, field, written, served[region], seen, going, draft, found)
    return {t.place for t in want.memory.published if t.kind == "LaunchTemplate"} - wanted


def _template(
    want: Wanted,
    field: str,
    written: str,
    ami: Image,
    seen: Observed,
    going: Collection[str],
    draft: Draft,
    found: list[Published],
) -> None:
    region = ami.region
    template = seen.region(region).templates.get(written)
    if template is None:
        return  # it was not read, and what keeps it from being read is told already
    if isinstance(template, Problem):
        draft.note(template)
        return
    if not template.id:
        draft.stop(
            "LaunchTemplateNotFound",
            f"{field}: there is no launch template {written} in {region}. Create it, or correct "
            "id, name or region",
            region=region,
        )
        return
    mine, default = mark(want.cluster, want.key), template.default
    if mark_of(default.description) not in ("", mine):
        whose = default.description.split(", version")[0]
        draft.stop(
            "LaunchTemplateOfAnother",
            f"{field}: the default version of launch template {written} in {region} was made for "
            f"another one, {whose}. Take it out of that one's spec.publish and make "
            "another version the default, or name another launch template",
            region=region,
        )
        return
    told = want.memory.told(("LaunchTemplate", "", region, written))
    if default.image != ami.id:
        draft.do(
            SetTemplateImage(
                region=region,
                template=template.id,
                name=template.name,
                image=ami.id,
                source=default.number,
                description=description(want.cluster, want.key, ami.version, default.number),
                mark=mine,
                token=digest(
                    want.cluster, want.key, template.id, ami.id, default.number, length=48
                ),
                heals=told is not None and told.image_id == ami.id,
            )
        )
        return
    found.append(
        Published(
            kind="LaunchTemplate",
            name=written,
            region=region,
            image_id=ami.id,
            version=ami.version,
        )
    )
    images = seen.region(region).images
    prune(template, mine, region, lambda i: i not in images or i in going, draft)


def prune(
    template: Template, of: str, region: str, useless: Callable[[str], bool], draft: Draft
) -> None:
    """Delete versions that nobody needs."""
    if old := prunable(template, of, useless):
        draft.do(
            PruneTemplateVersions(
                region=region,
                template=template.id,
                versions=tuple(v.number for v in old),
                images=tuple(sorted({v.image for v in old})),
            )
        )
