"""The `gilder` command; each subcommand lives in a module of its own and is imported on use."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gilder import __version__

app = typer.Typer(
    name="gilder",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keeps golden AMIs, their DR copies and their shares as declared.",
    epilog="See it work: gilder sandbox. Before a change: plan. When something is wrong: doctor, "
    "tree and explain.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps golden AMIs, their DR copies and their shares as declared."""


@app.command(epilog="Example: GILDER_LEASE=gilder-system/gilder gilder run --cluster-name prod")
def run(
    cluster_name: Annotated[
        str | None, typer.Option(help="Name in ownership tags [GILDER_CLUSTER_NAME].")
    ] = None,
    namespaces: Annotated[
        str | None, typer.Option(help="Comma-separated; empty: all [GILDER_NAMESPACES].")
    ] = None,
    selector: Annotated[
        str | None, typer.Option(help="Label selector; empty: all [GILDER_SELECTOR].")
    ] = None,
    resync_seconds: Annotated[
        float | None, typer.Option(help="Seconds between sweeps [GILDER_RESYNC_SECONDS].")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="json or console [GILDER_LOG_FORMAT].")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="[GILDER_LOG_LEVEL].")] = None,
) -> None:
    """Run the operator against the cluster of KUBECONFIG or of the pod it runs in.

    Every setting is an environment variable GILDER_...; an option wins over it.
    """
    from gilder.cli.run import run_operator

    given: dict[str, Any] = {
        "cluster_name": cluster_name,
        "namespaces": namespaces,
        "selector": selector,
        "resync_seconds": resync_seconds,
        "log_format": log_format,
        "log_level": log_level,
    }
    raise typer.Exit(run_operator({k: v for k, v in given.items() if v is not None}))


@app.command(epilog="Example: gilder plan manifests/ && echo nothing to do")
def plan(
    paths: Annotated[
        list[Path], typer.Argument(help="Manifests: files, folders, or - for standard input.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
    cluster_name: Annotated[
        str, typer.Option(envvar="GILDER_CLUSTER_NAME", help="Name in ownership tags.")
    ] = "default",
    region: Annotated[
        str, typer.Option(envvar="GILDER_REGION", help="Region for account-wide calls.")
    ] = "us-east-1",
    access_file: Annotated[
        Path | None,
        typer.Option(envvar="GILDER_ACCESS_FILE", help="Accounts, and what namespaces may do."),
    ] = None,
) -> None:
    """Print what applying the manifests would change in AWS; change nothing.

    Exit codes: 0 nothing would change, 2 something would, 1 it cannot be told.
    """
    from gilder.cli.plan import print_plan

    raise typer.Exit(print_plan(paths, output, cluster_name, region, access_file))


@app.command(epilog="Example: gilder explain images/base --account 222222222222 --region eu-west-1")
def explain(
    image: Annotated[
        str, typer.Argument(help="A GoldenImage, as NAME or NAMESPACE/NAME, or an AMI id.")
    ],
    account: Annotated[str, typer.Option(help="The account that would launch it.")],
    region: Annotated[
        list[str] | None,
        typer.Option(help="In this Region; may be repeated. Default: wherever the image is."),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Of the GoldenImage; for AMI ids, of shares.")
    ] = "",
    manifests: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", "--filename", "-f", help="Manifests in place of the cluster of KUBECONFIG."
        ),
    ] = None,
    cluster_name: Annotated[
        str, typer.Option(envvar="GILDER_CLUSTER_NAME", help="Name in ownership tags.")
    ] = "default",
    home_region: Annotated[
        str, typer.Option(envvar="GILDER_REGION", help="Region for account-wide calls.")
    ] = "us-east-1",
    access_file: Annotated[
        Path | None,
        typer.Option(
            envvar="GILDER_ACCESS_FILE",
            help="With a role in the account in it, the account is asked itself too.",
        ),
    ] = None,
) -> None:
    """Say whether an account could launch an image, and which permission is missing.

    Only reads. Exit codes: 0 it could everywhere asked, 2 it could not somewhere, 1 it cannot be
    told.
    """
    from gilder.cli.explain import Asked, print_explanation

    asked = Asked(image, account, tuple(region or ()), namespace, tuple(manifests or ()))
    raise typer.Exit(print_explanation(asked, output, cluster_name, home_region, access_file))


@app.command(epilog="Example: gilder tree images/base; gilder tree --all -o json")
def tree(
    image: Annotated[
        str, typer.Argument(help="A GoldenImage, as NAME or NAMESPACE/NAME; or give --all.")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", "-A", help="All GoldenImages, or those of --namespace.")
    ] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of the GoldenImage.")] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
    manifests: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "--filename",
            "-f",
            help="Objects in files, such as of `kubectl get -o yaml`, or - for standard input; in "
            "place of the cluster of KUBECONFIG.",
        ),
    ] = None,
) -> None:
    """Show an image with its versions, Regions, what is published, and who may launch it.

    Reads Kubernetes alone: what status says. `gilder explain` asks AWS. Exit codes: 0 shown, 1 not.
    """
    from gilder.cli.tree import print_tree

    raise typer.Exit(print_tree(image, everything, namespace, output, manifests or ()))


@app.command(epilog="Example: gilder crds | kubectl apply --server-side -f -")
def crds(
    write: Annotated[Path | None, typer.Option(help="Write one file per CRD here.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Exit 1 unless the files here are up to date.")
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions, write them, or check that files agree."""
    from gilder.cli.crds import handle

    raise typer.Exit(handle(write, check))


@app.command(epilog="Example: gilder doctor --region eu-west-1 --key alias/golden --part sharing")
def doctor(
    region: Annotated[
        list[str] | None,
        typer.Option(help="Ask EC2 here; may be repeated. Default: GILDER_REGION."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A KMS key that AMIs are encrypted with: ARN, alias or id. Repeatable."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="builds, sharing or publishing: what that policy lacks is a failure, else a "
            "warning. Repeatable."
        ),
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster/--no-cluster", help="Whether to look at Kubernetes too.")
    ] = True,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
) -> None:
    """Check credentials, permissions, CRDs, Lease, queue and settings; change nothing.

    Reads the same environment variables as `gilder run`. Permissions are asked for by dry runs and
    access reviews, as whoever runs this: in the operator's pod that is the operator.
    Exit codes: 0 it would work, 2 something fails, 1 wrong usage.
    """
    from gilder.cli.doctor import examine

    raise typer.Exit(examine(region or (), key or (), part or (), output, cluster=cluster))


@app.command("iam-policy", epilog="Example: gilder iam-policy --part main > policy.json")
def iam_policy(
    part: Annotated[
        str,
        typer.Option(
            help="main, builds, sharing, publishing or consumer. Default: one JSON object with "
            "each of them by its name."
        ),
    ] = "",
    write: Annotated[Path | None, typer.Option(help="Write one file per policy here.")] = None,
) -> None:
    """Print the IAM policies that this version needs, made from the calls in its code.

    main is what every operator needs; builds, sharing and publishing add to it. consumer is for the
    role in consumer accounts. docs/access.md says which is for what.
    """
    from gilder.cli.iam import handle

    raise typer.Exit(handle(part, write))


@app.command(epilog="Example: gilder sandbox --once")
def sandbox(
    once: Annotated[
        bool, typer.Option("--once", help="Exit when all is healed: 0, or 1 when something is not.")
    ] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Where kubeconfig and logs go; default: ./.sandbox.")
    ] = None,
) -> None:
    """Show the whole thing on this machine: no cluster, no AWS account, no Docker.

    Starts a local AWS and a Kubernetes API, applies samples, then breaks AWS and shows it heal.
    """
    from gilder.cli.sandbox import show

    raise typer.Exit(show(once, directory or Path(".sandbox")))
