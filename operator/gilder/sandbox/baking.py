"""What `packer build` does in a Job of the operator: an AMI with the tag of its build."""

import time

from botocore.exceptions import BotoCoreError, ClientError

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT
from gilder.sandbox.kubernetes.behaviours import JobRun, Work

BUILD_TAG = "goldenimage.dev/build"
_BUILDER = "amazon-ebs.golden"


def bake(
    aws: SandboxAws,
    region_env: str = "AWS_REGION",
    build_env: str = "GILDER_BUILD_ID",
    *,
    account: str = DEFAULT_ACCOUNT,
    size: int = 8,
    key: str | None = None,
) -> Work:
    """A behaviour of Jobs; one without the variable `build_env` just succeeds.

    The snapshot has `size` GiB and is encrypted with `key`, if there is one.
    """

    def work(run: JobRun) -> int:
        build = run.env.get(build_env)
        if build is None:
            return 0
        region = run.env.get(region_env)
        if not region:
            run.log(f"Error: {region_env} is not set: no Region to build in")
            return 1
        began = time.monotonic()
        # As with a template's {{timestamp}}: unique, as AWS demands of names.
        name = f"{run.namespace}/{run.pod}"[:128]
        run.log("output will be in this color.\n")
        run.log(f"==> {_BUILDER}: Prevalidating AMI Name: {name}")
        run.log(f"==> {_BUILDER}: Launching a source AWS instance...")
        try:
            image = _image(aws, run, name, build, region, account, size, key)
        except (ClientError, BotoCoreError) as error:
            run.log(f"==> {_BUILDER}: Error registering AMI: {error}")
            run.log(f"Build '{_BUILDER}' errored: Error registering AMI: {error}")
            return 1
        took = f"{time.monotonic() - began:.0f} seconds"
        run.log(f"Build '{_BUILDER}' finished after {took}.\n\n==> Wait completed after {took}")
        run.log("\n==> Builds finished. The artifacts of successful builds are:")
        run.log(f"--> {_BUILDER}: AMIs were created:\n{region}: {image}\n")
        return 0

    return work


def _image(
    aws: SandboxAws,
    run: JobRun,
    name: str,
    build: str,
    region: str,
    account: str,
    size: int,
    key: str | None,
) -> str:
    snapshot = make_snapshot(aws, region, account, size=size, key=key)
    tags = {"Name": run.name, BUILD_TAG: build}
    run.log(f"==> {_BUILDER}: Creating AMI {name}")
    image = register(aws, name, snapshot, region, account, tags=tags)
    run.log(f"    {_BUILDER}: AMI: {image}")
    run.log(f"==> {_BUILDER}: Adding tags to snapshot: {snapshot}")
    aws.client("ec2", region, account).create_tags(
        Resources=[snapshot], Tags=[{"Key": k, "Value": v} for k, v in tags.items()]
    )
    return image
