"""How a GoldenImage is built: by EC2 Image Builder, or by a Kubernetes Job."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from gilder.api.base import (
    FREE_TAG_KEYS,
    ApiModel,
    KmsKeyId,
    TagKey,
    TagValue,
    check_tag_keys,
    configured,
    rules,
)
from gilder.api.selection import ImageSource

BUILDER_ARN = r"^arn:aws[a-z-]*:imagebuilder:[a-z0-9-]+:([0-9]{12}|aws|aws-marketplace):"
DOCUMENT_LIMIT = 16000  # CreateComponent, parameter data, in the Image Builder API reference

# Of a pod template. What Kubernetes knows is half as deep, and what copies or reads it recurs.
MOST_DEPTH = 64

Check = Literal["NoSecrets", "NoHostKeys", "Patched", "AgentHealthy", "CloudInitHealthy"]

ComponentArn = Annotated[
    str, StringConstraints(pattern=BUILDER_ARN + r"component/[a-z0-9_./-]+$", max_length=512)
]
PipelineArn = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:imagebuilder:[a-z0-9-]+:[0-9]{12}:image-pipeline/[a-z0-9_-]+$",
        max_length=512,
    ),
]
# A name of a component is part of one of ours: <namespace>-<name>-<component>.
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]{8,17}$")]
SecurityGroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]{8,17}$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$", max_length=32)]
ProfileName = Annotated[str, StringConstraints(pattern=r"^[\w+=,.@-]+$", max_length=128)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", max_length=253)
]


class ParentImage(ImageSource):
    """The AMI a build starts from: exactly one of id, ssmParameter and newest."""


class Component(ApiModel):
    """One component of a recipe: exactly one of arn, check and document."""

    arn: Annotated[
        ComponentArn | None, Field(description="An existing component, of yours or of Amazon.")
    ] = None
    check: Annotated[
        Check | None, Field(description="One of the checks that this operator comes with.")
    ] = None
    name: Annotated[ShortName | None, Field(description="Name of an inline document.")] = None
    document: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=DOCUMENT_LIMIT,
            description="Component document as YAML text. The operator keeps it as a component.",
        ),
    ] = None
    parameters: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=256)],
            Annotated[tuple[str, ...], Field(min_length=1, max_length=10)],
        ],
        Field(max_length=25, description="Parameters of the component; values are lists."),
    ] = {}

    model_config = configured(
        (
            "[has(self.arn), has(self.check), has(self.document)].filter(x, x).size() == 1",
            "give exactly one of arn, check and document",
        ),
        ("has(self.name) == has(self.document)", "name belongs to document, which needs it"),
    )

    @model_validator(mode="after")
    def _one(self) -> "Component":
        if sum(x is not None for x in (self.arn, self.check, self.document)) != 1:
            raise ValueError("give exactly one of arn, check and document")
        if (self.name is None) != (self.document is None):
            raise ValueError("name belongs to document, which needs it")
        return self


class Volume(ApiModel):
    """An EBS volume of the AMI."""

    size: Annotated[int | None, Field(ge=1, le=16000, description="GiB.")] = None
    type: Literal["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"] | None = None
    iops: Annotated[int | None, Field(ge=100, le=100_000)] = None
    throughput: Annotated[int | None, Field(ge=125, le=2000, description="MiB/s, of gp3.")] = None
    kms_key_id: Annotated[
        KmsKeyId | None, Field(description="Customer-managed key of the home Region.")
    ] = None
    delete_on_termination: bool = True


class BlockDevice(ApiModel):
    """One entry of the AMI's block device mapping."""

    device: Annotated[str, Field(pattern=r"^[A-Za-z0-9/]{1,64}$", description="Such as /dev/xvda.")]
    volume: Volume | None = None
    remove: Annotated[bool, Field(description="Leave out a device that the parent image has.")] = (
        False
    )

    model_config = configured(
        (
            "has(self.volume) != (has(self.remove) && self.remove)",
            "give a volume, or remove: true",
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "BlockDevice":
        if (self.volume is not None) == self.remove:
            raise ValueError("give a volume, or remove: true")
        return self


class Recipe(ApiModel):
    """What is put on the parent image. The operator keeps an image recipe of it, and makes another
    version of that when the content changes."""

    parent_image: ParentImage
    components: Annotated[tuple[Component, ...], Field(min_length=1, max_length=20)]
    block_devices: Annotated[tuple[BlockDevice, ...], Field(max_length=20)] = ()
    platform: Literal["Linux", "Windows"] = "Linux"
    working_directory: Annotated[str | None, Field(min_length=1, max_length=1024)] = None
    user_data: Annotated[
        str | None,
        Field(min_length=1, max_length=16000, description="User data of the build instance."),
    ] = None


class BuildLogs(ApiModel):
    """Where Image Builder puts logs beside CloudWatch."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, Field(min_length=1, max_length=256)] = "gilder"


class Placed(ApiModel):
    """Where in a network instances are launched; the default VPC when nothing is given."""

    subnet_id: SubnetId | None = None
    security_group_ids: Annotated[tuple[SecurityGroupId, ...], Field(max_length=5)] = ()

    model_config = configured(
        (
            "has(self.subnetId) == (has(self.securityGroupIds) && size(self.securityGroupIds) > 0)",
            "subnetId and securityGroupIds go together",
        )
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.subnet_id is None) == bool(self.security_group_ids):
            raise ValueError("subnetId and securityGroupIds go together")
        return self


class Infrastructure(Placed):
    """Where the build and test instances of Image Builder run."""

    instance_profile: Annotated[
        ProfileName,
        Field(description="Instance profile with what Image Builder and the components need."),
    ]
    instance_types: Annotated[tuple[InstanceType, ...], Field(max_length=10)] = ()
    key_pair: Annotated[str | None, Field(min_length=1, max_length=255)] = None
    terminate_on_failure: bool = True
    logs: BuildLogs | None = None
    topic_arn: Annotated[
        str | None, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:.+$", max_length=256)
    ] = None
    tags: Annotated[
        dict[TagKey, TagValue],
        Field(
            max_length=30,
            description="Tags of the instances, beside those of spec.tags.",
            json_schema_extra=rules(FREE_TAG_KEYS),
        ),
    ] = {}

    @model_validator(mode="after")
    def _free_tags(self) -> "Infrastructure":
        check_tag_keys(self.tags)
        return self


class BuildTests(ApiModel):
    """The test stage of Image Builder."""

    enabled: bool = True
    timeout_minutes: Annotated[int, Field(ge=60, le=1440)] = 720


class ImageBuilderSource(ApiModel):
    """A build by EC2 Image Builder: exactly one of pipelineArn and recipe."""

    pipeline_arn: Annotated[
        PipelineArn | None,
        Field(
            description="An existing pipeline of the home Region. Leave distribution to other "
            "Regions and accounts to this operator, so that gates hold."
        ),
    ] = None
    recipe: Recipe | None = None
    infrastructure: Annotated[Infrastructure | None, Field(description="Required with recipe.")] = (
        None
    )
    tests: BuildTests = BuildTests()
    timeout_minutes: Annotated[
        int,
        Field(ge=30, le=2880, description="A build that takes longer is cancelled."),
    ] = 720

    model_config = configured(
        ("has(self.pipelineArn) != has(self.recipe)", "give exactly one of pipelineArn and recipe"),
        (
            "has(self.infrastructure) == has(self.recipe)",
            "infrastructure belongs to recipe, which needs it",
        ),
    )

    @model_validator(mode="after")
    def _one(self) -> "ImageBuilderSource":
        if (self.pipeline_arn is None) == (self.recipe is None):
            raise ValueError("give exactly one of pipelineArn and recipe")
        if (self.infrastructure is None) != (self.recipe is None):
            raise ValueError("infrastructure belongs to recipe, which needs it")
        return self


class ConfigMapTemplate(ApiModel):
    """Template files in a ConfigMap of the namespace; every key is a file."""

    name: ObjectName


class GitTemplate(ApiModel):
    """Template files in a git repository, cloned before the build."""

    repository: Annotated[
        str,
        Field(
            pattern=r"^(https://|ssh://|git@)[A-Za-z0-9@:/._~-]+$",
            max_length=1024,
            description="URL; https or ssh.",
        ),
    ]
    ref: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9/._-]*$",
            max_length=255,
            description="Branch, tag or commit.",
        ),
    ] = "main"
    path: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9/._-]*$|^\.$",
            max_length=1024,
            description="Folder of the template in the repository.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {"rule": "!self.contains('..')", "message": "must not hold .."}
                ]
            },
        ),
    ] = "."
    secret_name: Annotated[
        ObjectName | None,
        Field(
            description="Secret with credentials: username and password, or ssh-privatekey and "
            "known_hosts."
        ),
    ] = None
    image: Annotated[str, Field(min_length=1, max_length=512, description="Image with git.")] = (
        "alpine/git:v2.49.1"
    )

    @model_validator(mode="after")
    def _inside(self) -> "GitTemplate":
        if ".." in self.path:
            raise ValueError("path must not hold ..")
        return self


class PackerTemplate(ApiModel):
    """Where the Packer template comes from: exactly one of configMap and git."""

    config_map: ConfigMapTemplate | None = None
    git: GitTemplate | None = None

    model_config = configured(
        ("has(self.configMap) != has(self.git)", "give exactly one of configMap and git")
    )

    @model_validator(mode="after")
    def _one(self) -> "PackerTemplate":
        if (self.config_map is None) == (self.git is None):
            raise ValueError("give exactly one of configMap and git")
        return self


class Packer(ApiModel):
    """`packer init`, `validate` and `build` of a template, which must tag its AMI with
    goldenimage.dev/build = var.build_id."""

    image: Annotated[str, Field(min_length=1, max_length=512, description="Image with Packer.")] = (
        "hashicorp/packer:1.14.2"
    )
    template: PackerTemplate
    variables: Annotated[
        dict[EnvName, Annotated[str, StringConstraints(max_length=4096)]],
        Field(max_length=50, description="Packer variables, given as PKR_VAR_<name>."),
    ] = {}
    variables_secret: Annotated[
        ObjectName | None,
        Field(description="Secret whose keys are Packer variables, given as PKR_VAR_<key>."),
    ] = None


class JobSource(ApiModel):
    """A build by a Kubernetes Job in the GoldenImage's namespace.

    The Job gets GILDER_BUILD_ID in its environment (PKR_VAR_build_id too) and must tag the AMI that
    it makes in the home Region with goldenimage.dev/build=<that id>.
    """

    preset: Annotated[
        Literal["packer"] | None,
        Field(description="packer: the container is filled in from `packer`."),
    ] = None
    packer: Packer | None = None
    template: Annotated[
        dict[str, Any] | None,
        Field(
            description="Pod template (metadata, spec). With a preset it is what the preset is "
            "merged into, by container name.",
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = None
    service_account_name: Annotated[
        ObjectName | None,
        Field(description="Service account with the AWS role that may build (IRSA, Pod Identity)."),
    ] = None
    backoff_limit: Annotated[int, Field(ge=0, le=10, description="Retries of a failed pod.")] = 0
    active_deadline_seconds: Annotated[int, Field(ge=60, le=172_800)] = 7200
    keep_seconds: Annotated[
        int,
        Field(
            ge=300, le=604_800, description="How long a finished Job is kept at most, for its log."
        ),
    ] = 86_400

    model_config = configured(
        ("has(self.preset) == has(self.packer)", "preset: packer and packer go together"),
        ("has(self.preset) || has(self.template)", "give a preset or a template"),
    )

    @model_validator(mode="after")
    def _whole(self) -> "JobSource":
        if (self.preset is None) != (self.packer is None):
            raise ValueError("preset: packer and packer go together")
        if too_deep(self.template, MOST_DEPTH):
            raise ValueError(f"template: nested deeper than {MOST_DEPTH} levels")
        found = shape(self.template or {})
        if self.preset is None and not found:
            raise ValueError("template: needs spec.containers, unless a preset is given")
        return self


def too_deep(value: Any, most: int) -> bool:
    """Whether something is nested deeper, by a look that is no deeper itself for that."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def shape(template: dict[str, Any]) -> list[Any]:
    """The containers of a pod template, as far as the operator changes it.

    Raises ValueError where a part has another type than Kubernetes wants.
    """

    def of_type(value: Any, kind: type, field: str) -> Any:
        if value is not None and not isinstance(value, kind):
            wants = "a mapping" if kind is dict else "a list" if kind is list else "text"
            raise ValueError(f"template.{field}: must be {wants}")
        return value if value is not None else kind()

    meta = of_type(template.get("metadata"), dict, "metadata")
    of_type(meta.get("labels"), dict, "metadata.labels")
    spec = of_type(template.get("spec"), dict, "spec")
    for kind in ("initContainers", "containers"):
        for n, container in enumerate(of_type(spec.get(kind), list, f"spec.{kind}")):
            field = f"spec.{kind}[{n}]"
            if not of_type(container, dict, field):
                raise ValueError(f"template.{field}: must be a mapping")
            for part in ("env", "envFrom", "volumeMounts"):
                entries = of_type(container.get(part), list, f"{field}.{part}")
                for m, entry in enumerate(entries):
                    if entry is None:
                        raise ValueError(f"template.{field}.{part}[{m}]: must be a mapping")
                    found = of_type(entry, dict, f"{field}.{part}[{m}]")
                    of_type(found.get("name"), str, f"{field}.{part}[{m}].name")
    of_type(spec.get("volumes"), list, "spec.volumes")
    return list(spec.get("containers") or [])
