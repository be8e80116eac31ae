"""Calls with a role in a consumer's account."""

from typing import Any

from botocore.exceptions import ClientError

from gilder.aws import errors
from gilder.aws.permissions import needs


@needs("ec2:DescribeImages")
def visible(ec2: Any, ids: Any) -> dict[str, dict[str, str]]:
    found = {}
    ids = sorted(ids)
    for start in range(0, len(ids), 200):
        for page in ec2.get_paginator("describe_images").paginate(
            Filters=[{"Name": "image-id", "Values": ids[start : start + 200]}]
        ):
            for raw in page["Images"]:
                found[raw["ImageId"]] = {t["Key"]: t["Value"] for t in raw.get("Tags", [])}
    return found


@needs("ec2:RunInstances")
def dry_run(ec2: Any, image: str, architecture: str) -> str:
    kind = "t4g.nano" if architecture == "arm64" else "t3.nano"
    try:
        ec2.run_instances(ImageId=image, InstanceType=kind, MinCount=1, MaxCount=1, DryRun=True)
    except ClientError as error:
        return "" if errors.code(error) == "DryRunOperation" else errors.message(error)
    return ""


@needs("kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext")
def key_usable(kms: Any, arn: str) -> str:
    try:
        kms.describe_key(KeyId=arn)
        kms.generate_data_key_without_plaintext(KeyId=arn, KeySpec="AES_256", DryRun=True)
    except ClientError as error:
        return "" if errors.code(error) == "DryRunOperationException" else errors.message(error)
    return ""


@needs("ec2:CreateTags")
def tag(ec2: Any, ids: Any, tags: Any) -> None:
    ec2.create_tags(
        Resources=list(ids), Tags=[{"Key": k, "Value": v} for k, v in sorted(tags.items())]
    )


@needs("ec2:DeleteTags")
def untag(ec2: Any, ids: Any, keys: Any) -> None:
    ec2.delete_tags(Resources=list(ids), Tags=[{"Key": k} for k in keys])
