"""How a spec names an AMI that exists: by id, by SSM parameter, or as the newest that matches."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gilder.api.base import ApiModel, ImageId, TagKey, TagValue, configured


class NewestImage(ApiModel):
    """The newest available AMI that matches every given filter."""

    owners: Annotated[
        tuple[Annotated[str, Field(pattern=r"^([0-9]{12}|self|amazon|aws-marketplace)$")], ...],
        Field(
            min_length=1,
            max_length=20,
            description="Account ids, `self`, `amazon` or `aws-marketplace`. Required, so that a "
            "stranger's AMI of the same name is never taken.",
        ),
    ]
    name: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="Name, with the wildcards * and ?."),
    ] = None
    tags: Annotated[
        dict[TagKey, TagValue],
        Field(max_length=20, description="Tags the AMI must carry (seen by its owner only)."),
    ] = {}
    architecture: Literal["x86_64", "arm64", "i386", "x86_64_mac", "arm64_mac"] | None = None

    model_config = configured(
        (
            "has(self.name) || (has(self.tags) && size(self.tags) > 0)",
            "give a name pattern or tags: the newest AMI of an owner alone is arbitrary",
        )
    )

    @model_validator(mode="after")
    def _filtered(self) -> "NewestImage":
        if not self.name and not self.tags:
            raise ValueError(
                "give a name pattern or tags: the newest AMI of an owner alone is arbitrary"
            )
        return self


class ImageSource(ApiModel):
    """An existing AMI of the home Region: exactly one of id, ssmParameter and newest."""

    id: Annotated[ImageId | None, Field(description="AMI id.")] = None
    ssm_parameter: Annotated[
        str | None,
        Field(
            pattern=r"^/?[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*$",
            max_length=1011,
            description="SSM parameter whose value is an AMI id; followed as it changes.",
        ),
    ] = None
    newest: Annotated[
        NewestImage | None, Field(description="Newest AMI by owner and filters; followed.")
    ] = None

    model_config = configured(
        (
            "[has(self.id), has(self.ssmParameter), has(self.newest)].filter(x, x).size() == 1",
            "give exactly one of id, ssmParameter and newest",
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "ImageSource":
        if sum(x is not None for x in (self.id, self.ssm_parameter, self.newest)) != 1:
            raise ValueError("give exactly one of id, ssmParameter and newest")
        return self
