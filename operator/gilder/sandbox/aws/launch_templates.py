"""Launch templates: versions by number, client tokens, filters, pages, deletion of versions.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-launch-templates.html
"""

import re
from collections.abc import Mapping
from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.utils import parse_user_data

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.filters import apply_filters, truth
from gilder.sandbox.aws.idempotency import idempotent
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.parameters import resolve
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK
from gilder.sandbox.aws.tags import drop_tags, set_tags, tag_list, tags_for
from gilder.sandbox.aws.times import whole

_ID = re.compile(r"lt-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")
_DESCRIPTION, _PAGE, _DELETED = 255, 200, 200
_WORDS = ("$latest", "$default")


def _user_of(call: Call) -> str:
    return f"arn:aws:iam::{call.account}:root"


def _shown(call: Call, template: Any) -> dict[str, Any]:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": template.create_time,
        "CreatedBy": _user_of(call),
        "DefaultVersionNumber": template.default_version_number,
        "LatestVersionNumber": template.latest_version_number,
        "Tags": tag_list(call.backend, template.id),
    }


def _version(call: Call, template: Any, version: Any, *, aliases: bool = True) -> dict[str, Any]:
    data = dict(version.data)
    if data.get("UserData") is not None:
        data["UserData"] = str(data["UserData"])
    if not aliases and data.get("ImageId"):
        data["ImageId"] = resolve(data["ImageId"], call.account, call.region)
    out = {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "VersionNumber": version.number,
        "VersionDescription": version.description,
        "CreateTime": version.create_time,
        "CreatedBy": _user_of(call),
        "DefaultVersion": template.is_default(version),
        "LaunchTemplateData": data,
    }
    return {k: v for k, v in out.items() if v is not None}


def _no_id(text: str) -> AwsError:
    return AwsError(
        "InvalidLaunchTemplateId.NotFound",
        f"The specified launch template, with template ID {text}, does not exist.",
    )


def _no_name(text: str) -> AwsError:
    return AwsError(
        "InvalidLaunchTemplateName.NotFoundException",
        f"The specified launch template, with template name {text}, does not exist.",
    )


def _no_version(template_id: str, number: object) -> AwsError:
    return AwsError(
        "InvalidLaunchTemplateId.VersionNotFound",
        f"Could not find launch template version {number} for launch template {template_id}",
    )


def _by_id(call: Call, text: str) -> Any:
    if not _ID.fullmatch(text):
        raise AwsError("InvalidLaunchTemplateId.Malformed", f'Invalid id: "{text}"')
    if text not in call.backend.launch_templates:
        raise _no_id(text)
    return call.backend.launch_templates[text]


def _by_name(call: Call, name: str) -> Any:
    found = call.backend.launch_template_name_to_ids.get(name)
    if found is None:
        raise _no_name(name)
    return call.backend.launch_templates[found]


def _need(call: Call) -> Any:
    """The template by its id or its name, "but not both"."""
    written, name = call.get("LaunchTemplateId"), call.get("LaunchTemplateName")
    if written and name:
        raise AwsError(
            "InvalidParameterCombination",
            "The parameters launchTemplateId and launchTemplateName cannot be used together.",
        )
    if written:
        return _by_id(call, written)
    if name:
        return _by_name(call, name)
    raise AwsError(
        "MissingParameter",
        "Either a launch template ID or a launch template name must be specified in the request.",
    )


def _find(template: Any, written: str) -> Any:
    word = str(written).lower()
    if word in _WORDS:
        number = template.default_version_number
        return template.versions[-1] if word == "$latest" else _numbered(template, number)
    if not word.isdigit():
        raise AwsError(
            "InvalidLaunchTemplateId.VersionMalformed",
            f"Invalid launch template version: {written}",
        )
    return _numbered(template, int(word))


def _at(template: Any, number: int) -> Any | None:
    return next((v for v in template.versions if v.number == number), None)


def _numbered(template: Any, number: int) -> Any:
    version = _at(template, number)
    if version is None:
        raise _no_version(template.id, number)
    return version


def _data(call: Call) -> dict[str, Any]:
    data = dict(call.need("LaunchTemplateData"))
    if data.get("UserData") is not None:
        data["UserData"] = parse_user_data(data["UserData"])
    return data


def _description(call: Call) -> str | None:
    text: str | None = call.get("VersionDescription")
    if text is not None and len(text) > _DESCRIPTION:
        raise AwsError(
            "InvalidParameterValue", f"VersionDescription has at most {_DESCRIPTION} characters."
        )
    return text


@ec2
@idempotent
def create_launch_template(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html"""
    name = call.need("LaunchTemplateName")
    if not _NAME.fullmatch(name):
        raise AwsError(
            "InvalidLaunchTemplateName.MalformedException",
            f"The launch template name {name} is not valid.",
        )
    if name in call.backend.launch_template_name_to_ids:
        raise AwsError(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        )
    tags, data = tags_for(call, "launch-template")["launch-template"], _data(call)
    description = _description(call)
    call.dry_run()
    template = call.backend.create_launch_template(name, description, data, {})
    template.create_time = template.versions[0].create_time
    set_tags(call.backend, template.id, tags)
    return {"LaunchTemplate": _shown(call, template)}


@ec2
@idempotent
def create_launch_template_version(call: Call) -> Mapping[str, Any]:
    """Parameters of the request "overwrite any corresponding launch parameters inherited".

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
    """
    template, data, description = _need(call), _data(call), _description(call)
    source = call.get("SourceVersion")
    if source is not None:
        data = _inherited(_find(template, source).data) | data
    call.dry_run()
    version = template.create_version(data, description)
    aliases = not call.get("ResolveAlias")
    return {"LaunchTemplateVersion": _version(call, template, version, aliases=aliases)}


def _inherited(data: Mapping[str, Any]) -> dict[str, Any]:
    """Of the source version: "Snapshots applied to the block device mapping are ignored"."""
    out = dict(data)
    if out.get("BlockDeviceMappings"):
        out["BlockDeviceMappings"] = [
            {**m, "Ebs": {k: v for k, v in m["Ebs"].items() if k != "SnapshotId"}}
            if m.get("Ebs")
            else m
            for m in out["BlockDeviceMappings"]
        ]
    return out


@ec2
@idempotent
def modify_launch_template(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyLaunchTemplate.html"""
    template, written = _need(call), call.get("DefaultVersion")
    if written is None:
        raise AwsError("MissingParameter", "The request must contain a default version")
    version = _find(template, written)
    call.dry_run()
    template.default_version_number = version.number
    return {"LaunchTemplate": _shown(call, template)}


@ec2
def delete_launch_template(call: Call) -> Mapping[str, Any]:
    template = _need(call)
    call.dry_run()
    shown = _shown(call, template)
    call.backend.delete_launch_template(template.name, None)
    drop_tags(call.backend, template.id)
    return {"LaunchTemplate": shown}


@ec2
def describe_launch_templates(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplates.html"""
    ids, names = call.get("LaunchTemplateIds", []), call.get("LaunchTemplateNames", [])
    found = list(call.backend.launch_templates.values())
    if ids or names:
        found = [_by_id(call, i) for i in ids] + [_by_name(call, n) for n in names]
    call.dry_run()
    found = apply_filters(
        found,
        call.get("Filters", []),
        {
            "create-time": lambda t: [whole(t.create_time)],
            "launch-template-name": lambda t: [t.name],
        },
        lambda t: call.backend.tags.get(t.id, {}),
    )
    chosen, token = _page(call, found, lambda t: t.id)
    return answer("LaunchTemplates", [_shown(call, t) for t in chosen], token)


def _page(call: Call, found: list[Any], key: Any) -> tuple[list[Any], str | None]:
    limit = call.get("MaxResults", _PAGE)
    if limit > _PAGE:
        raise AwsError(
            "InvalidParameterValue", f"Value ( {limit} ) for parameter maxResults is invalid."
        )
    return ec2_page(found, key, limit, call.get("NextToken"))


@ec2
def describe_launch_template_versions(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplateVersions.html"""
    found = apply_filters(
        _versions(call),
        call.get("Filters", []),
        {
            "create-time": lambda p: [whole(p[1].create_time)],
            "ebs-optimized": lambda p: [truth(bool(p[1].data.get("EbsOptimized")))],
            "image-id": lambda p: [p[1].data.get("ImageId") or ""],
            "instance-type": lambda p: [p[1].data.get("InstanceType") or ""],
            "is-default-version": lambda p: [truth(p[0].is_default(p[1]))],
        },
        lambda _: {},
    )
    call.dry_run()
    chosen, token = _page(call, found, lambda p: f"{p[0].id} {p[1].number}")
    aliases = not call.get("ResolveAlias")
    shown = [_version(call, t, v, aliases=aliases) for t, v in chosen]
    return answer("LaunchTemplateVersions", shown, token)


def _versions(call: Call) -> list[tuple[Any, Any]]:
    """Pairs of template and version: of one template, or the latest or default ones of all."""
    asked = [str(v) for v in call.get("Versions", [])]
    if call.get("LaunchTemplateId") or call.get("LaunchTemplateName"):
        template = _need(call)
        if asked:
            return _asked(template, asked)
        low, high = int(call.get("MinVersion", 1)), call.get("MaxVersion")
        return [
            (template, v)
            for v in template.versions
            if v.number >= low and (high is None or v.number <= int(high))
        ]
    if not asked or any(v.lower() not in _WORDS for v in asked):
        raise AwsError(
            "InvalidParameterCombination" if asked else "MissingParameter",
            "To describe the versions of all launch templates, specify $Latest, $Default or both.",
        )
    return [p for t in call.backend.launch_templates.values() for p in _asked(t, asked)]


def _asked(template: Any, asked: list[str]) -> list[tuple[Any, Any]]:
    """Each version that is asked for once, however often it is named."""
    chosen = {v.number: v for v in (_find(template, w) for w in asked)}
    return [(template, v) for v in chosen.values()]


@ec2
def delete_launch_template_versions(call: Call) -> Mapping[str, Any]:
    """What cannot be deleted comes back with an error of its own, the default version too.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteLaunchTemplateVersions.html
    """
    template, asked = _need(call), [str(v) for v in call.need("Versions")]
    if len(asked) > _DELETED:
        raise AwsError("InvalidParameterValue", f"At most {_DELETED} versions can be deleted.")
    if any(not v.isdigit() for v in asked):
        raise AwsError(
            "InvalidLaunchTemplateId.VersionMalformed", "Versions to be deleted are numbers."
        )
    call.dry_run()
    names = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}
    deleted: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for number in map(int, asked):
        item = {**names, "VersionNumber": number}
        version = _at(template, number)
        if version is None:
            failed.append({**item, "ResponseError": _response_error(template, number)})
        elif template.is_default(version):
            failed.append({**item, "ResponseError": _default_error(number)})
        else:
            template.versions.remove(version)
            deleted.append(item)
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": deleted,
        "UnsuccessfullyDeletedLaunchTemplateVersions": failed,
    }


def _response_error(template: Any, number: int) -> dict[str, str]:
    message = _no_version(template.id, number).message
    return {"Code": "launchTemplateVersionDoesNotExist", "Message": str(message)}


def _default_error(number: int) -> dict[str, str]:
    return {
        "Code": "unexpectedError",
        "Message": f"Cannot delete the default version {number} of the launch template.",
    }


def install() -> None:
    """moto's launches look versions up by position, which deletion shifts, and do not resolve."""
    template: Any = LaunchTemplate

    def create_version(self: Any, data: dict[str, Any], description: str | None) -> Any:
        self.last_number = getattr(self, "last_number", 0) + 1
        version: Any = LaunchTemplateVersion(self, self.last_number, data, description or "")
        version.description, version.create_time = description, CLOCK.now()
        self.versions.append(version)
        return version

    def image_id(self: Any) -> str:
        backend, written = self.template.ec2_backend, self.data.get("ImageId") or ""
        return resolve(written, backend.account_id, backend.region_name)

    template.create_version = create_version
    template.get_version = _find
    template.default_version = lambda self: _numbered(self, self.default_version_number)
    version_class: Any = LaunchTemplateVersion
    version_class.image_id = property(image_id)
