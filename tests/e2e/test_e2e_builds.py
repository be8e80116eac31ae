"""Builds by Image Builder: begun once, followed, told of, cancelled, resumed."""

import threading

import pytest
from buildstage import RECIPE, Works, built
from stage import DR, ENCRYPTED, HOME, KEY, A, Stage
from systemworld import share

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.breakage import can_launch


@pytest.fixture
def works(stage: Stage) -> Works:
    return Works(stage)


def test_a_recipe_becomes_a_version_that_is_copied_and_shared(stage: Stage, works: Works) -> None:
    stage.apply(built(**ENCRYPTED, replicas=[{"region": DR, **KEY}], tags={"team": "web"}))
    stage.apply(share(image="web", accounts=[A]))
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    stage.wait_ready("ImageShare", "team")
    home = stage.image("web", HOME)
    assert can_launch(stage.aws, home, HOME, A)
    assert can_launch(stage.aws, stage.image("web", DR), DR, A)
    (image,) = stage.owned(HOME)
    devices = [d["Ebs"] for d in image["BlockDeviceMappings"]]
    assert all(d["Encrypted"] for d in devices), "born with the home key, so not copied"
    assert stage.tags(home, HOME)["team"] == "web"
    assert works.states() == {"AVAILABLE": 1}
    assert works.build("web")["trigger"] == "initial"
    condition = stage.condition("GoldenImage", "web", "BuildSucceeded")
    assert condition["status"] == "True"
    assert home in condition["message"]
    assert stage.events("web", "BuildStarted")
    assert stage.events("web", "BuildSucceeded")
    assert works.builders() == []


def test_an_unencrypted_build_is_adopted_as_it_is(stage: Stage, works: Works) -> None:
    stage.apply(built())
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    made = [i for i in works.amis().values() if i["Name"].startswith("images-web-v1 ")]
    assert [i["ImageId"] for i in made] == [stage.image("web", HOME)]


def test_an_existing_pipeline_is_run(stage: Stage, works: Works) -> None:
    client = stage.aws.client("imagebuilder", HOME)
    recipe = client.create_image_recipe(
        name="theirs",
        semanticVersion="1.0.0",
        parentImage=stage.seeded.base_image,
        components=[
            {
                "componentArn": "arn:aws:imagebuilder:eu-west-1:aws:component/update-linux/x.x.x",
            }
        ],
        clientToken="a",
    )["imageRecipeArn"]
    infrastructure = client.create_infrastructure_configuration(
        name="theirs", instanceProfileName="golden-builder", clientToken="b"
    )["infrastructureConfigurationArn"]
    pipeline = client.create_image_pipeline(
        name="theirs",
        imageRecipeArn=recipe,
        infrastructureConfigurationArn=infrastructure,
        clientToken="c",
    )["imagePipelineArn"]
    stage.apply(built(imageBuilder={"pipelineArn": pipeline}, **ENCRYPTED))
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    stage.wait(lambda: len(stage.owned(HOME)) == 1, "what the pipeline left is cleared away")
    (image,) = stage.owned(HOME)
    assert image["Name"] == "images-web-v1", "re-encrypted by copy, since the pipeline has no key"
    assert all(d["Ebs"]["Encrypted"] for d in image["BlockDeviceMappings"])
    mine = [i for i in works.amis().values() if i["Name"].startswith("theirs ")]
    assert mine == [], "what it was copied from is gone"
    stage.delete("GoldenImage", "web")
    stage.gone("GoldenImage", "web")
    assert client.get_image_pipeline(imagePipelineArn=pipeline)


def test_a_failed_build_names_the_step_and_the_log_and_leaves_nothing(
    stage: Stage, works: Works
) -> None:
    before = set(works.amis())
    stage.aws.builds.fail_next("ApplyTestComponents", reason="exit status 7")
    stage.apply(built())
    stage.start()
    message = works.wait_failed("web")
    assert "ApplyTestComponents" in message
    assert "exit status 7" in message
    assert "/aws/imagebuilder/" in message
    assert "goldenimage.dev/rebuild" in message
    assert stage.condition("GoldenImage", "web", "Stalled")["status"] == "True"
    assert stage.wait_event("web", "BuildFailed")["type"] == "Warning"
    stage.wait(lambda: set(works.amis()) == before, "the AMI of the failed build gone")
    assert works.builders() == []
    stage.look("GoldenImage", "web", "again")
    assert works.states() == {"FAILED": 1}, "not tried again by itself"
    works.request("web", "please")
    stage.wait_ready("GoldenImage", "web")
    assert works.states() == {"FAILED": 1, "AVAILABLE": 1}
    assert works.build("web")["trigger"] == "request/please"


def test_a_bad_recipe_is_told_and_mended_by_the_spec(stage: Stage, works: Works) -> None:
    bad = {**RECIPE, "infrastructure": {"instanceProfile": "no-such-profile"}}
    stage.apply(built(imageBuilder=bad))
    stage.start()
    message = stage.wait_reason("GoldenImage", "web", "BuildRefused")["message"]
    assert "spec.source.imageBuilder" in message
    assert "instanceProfileName" in message
    assert works.builds() == []
    stage.patch("GoldenImage", "web", {"spec": {"source": {"imageBuilder": RECIPE}}})
    stage.wait_ready("GoldenImage", "web")
    assert works.states() == {"AVAILABLE": 1}


def test_a_changed_recipe_is_another_version_and_the_old_one_serves_meanwhile(
    stage: Stage, works: Works
) -> None:
    stage.apply(built(), share(image="web", accounts=[A]))
    stage.start()
    stage.wait_ready("ImageShare", "team")
    first = stage.image("web", HOME)
    stage.aws.settings.update(build_seconds=3.0)
    recipe = {**RECIPE["recipe"], "workingDirectory": "/srv"}
    stage.edit("GoldenImage", "web", source={"imageBuilder": {"recipe": recipe}})
    stage.wait(lambda: works.build("web", "build"), "a build under way")
    assert can_launch(stage.aws, first, HOME, A)
    stage.wait(
        lambda: stage.condition("GoldenImage", "web", "BuildSucceeded").get("reason") == "Building",
        "status tells of the build",
    )
    stage.wait_version(2, "web")
    second = stage.image("web", HOME)
    stage.wait(lambda: can_launch(stage.aws, second, HOME, A), "the new version is shared")
    assert works.build("web")["trigger"].startswith("spec/")
    recipes = stage.aws.client("imagebuilder", HOME).list_image_recipes(owner="Self")
    versions = [r["arn"].rsplit("/", 1)[1] for r in recipes["imageRecipeSummaryList"]]
    assert len(set(versions)) == 2, "the old recipe is kept"


def test_a_new_parent_image_rebuilds_only_where_that_is_asked_for(
    stage: Stage, works: Works
) -> None:
    stage.apply(built("follows", schedule={"rebuildOn": ["ParentImageChanged"]}), built("stays"))
    stage.start(resync=2)
    stage.wait_ready("GoldenImage", "follows", "stays")
    parent = stage.publish("base-2")
    stage.wait_version(2, "follows")
    assert works.build("follows")["trigger"] == f"parent/{parent}"
    assert works.build("follows")["parent"] == parent
    stage.look("GoldenImage", "stays", "now")
    assert stage.status("GoldenImage", "stays")["latest"]["version"] == 1
    assert len(works.builds()) == 3


def test_a_parent_that_cannot_be_built_on_is_told_before_anything_starts(
    stage: Stage, works: Works
) -> None:
    store = {**RECIPE, "recipe": {**RECIPE["recipe"]}}
    store["recipe"]["parentImage"] = {"id": stage.seeded.instance_store_image}
    stage.apply(built("store", imageBuilder=store))
    nowhere = {**RECIPE, "recipe": {**RECIPE["recipe"], "parentImage": {"ssmParameter": "/no"}}}
    stage.apply(built("nowhere", imageBuilder=nowhere))
    stage.start()
    stage.wait_reason("GoldenImage", "store", "InstanceStoreUnsupported")
    found = stage.wait_reason("GoldenImage", "nowhere", "SourceNotFound")
    assert "spec.source.imageBuilder.recipe.parentImage.ssmParameter" in found["message"]
    assert works.builds() == []


@pytest.mark.parametrize("seconds", [0.0, 2.0])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_start_of_a_build(
    stage: Stage, works: Works, when: str, seconds: float
) -> None:
    """Whatever Image Builder was told when the operator died, there is one build."""
    stage.aws.settings.update(build_seconds=seconds)
    struck = threading.Event()

    def strike(_: object) -> None:
        if not struck.is_set():
            struck.set()
            stage.world.operator.kill()

    hook = stage.aws.faults.before if when == "before" else stage.aws.faults.after
    hook("CreateImage", strike)
    stage.apply(built(**ENCRYPTED))
    stage.start()
    stage.wait(struck.is_set, "killed")
    stage.restart()
    stage.wait_ready("GoldenImage", "web")
    assert works.states() == {"AVAILABLE": 1}
    stage.assert_nothing_twice(HOME)


def test_killed_while_it_waits_and_without_its_memory(stage: Stage, works: Works) -> None:
    """The build id is made of what it is for, so even a lost status begins no second build."""
    stage.aws.settings.update(build_seconds=4.0)
    stage.apply(built())
    stage.start()
    stage.wait(lambda: works.build("web", "build").get("ref"), "a build under way")
    stage.world.operator.kill()
    url = f"{stage.url('GoldenImage', 'web')}/status"
    headers = {"Content-Type": "application/merge-patch+json"}
    stage.session.patch(url, json={"status": None}, headers=headers, timeout=10)
    stage.restart()
    stage.wait_ready("GoldenImage", "web")
    assert works.states() == {"AVAILABLE": 1}


def test_suspend_cancels_and_resuming_builds_anew(stage: Stage, works: Works) -> None:
    stage.aws.settings.update(build_seconds=600.0)
    stage.apply(built())
    stage.start()
    works.run_on("web")
    stage.edit("GoldenImage", "web", suspend=True)
    stage.wait(lambda: works.states() == {"CANCELLED": 1}, "the build is cancelled")
    stage.wait(lambda: works.build("web").get("state") == "Cancelled", "status says so")
    assert works.builders() == []
    assert stage.condition("GoldenImage", "web", "Ready")["reason"] == "Suspended"
    stage.aws.settings.update(build_seconds=0.0)
    stage.edit("GoldenImage", "web", suspend=False)
    stage.wait_ready("GoldenImage", "web")
    assert works.states() == {"CANCELLED": 1, "AVAILABLE": 1}


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_deletion_cancels_and_clears_the_recipes(stage: Stage, works: Works, policy: str) -> None:
    client = stage.aws.client("imagebuilder", HOME)
    theirs = client.create_component(
        name="theirs", semanticVersion="1.0.0", platform="Linux", clientToken="x",
        data=RECIPE["recipe"]["components"][1]["document"],
    )["componentBuildVersionArn"]  # fmt: skip
    stage.apply(built(deletionPolicy=policy))
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    image = stage.image("web", HOME)
    stage.aws.settings.update(build_seconds=600.0)
    works.request("web", "more")
    works.run_on("web")
    stage.delete("GoldenImage", "web")
    stage.gone("GoldenImage", "web")
    assert works.builders() == []
    assert works.states()["CANCELLED"] == 1
    assert (image in works.amis()) == (policy == "Retain")
    assert client.list_image_recipes(owner="Self")["imageRecipeSummaryList"] == []
    assert (
        client.list_infrastructure_configurations()["infrastructureConfigurationSummaryList"] == []
    )
    assert client.list_distribution_configurations()["distributionConfigurationSummaryList"] == []
    left = client.list_components(owner="Self")["componentVersionList"]
    assert [c["arn"] + "/1" for c in left] == [theirs]


@pytest.mark.parametrize("after", ["image", "job"])
def test_a_source_that_changes_under_a_build_ends_it(
    stage: Stage, works: Works, after: str
) -> None:
    stage.aws.settings.update(build_seconds=600.0)
    stage.apply(built())
    stage.start()
    works.run_on("web")
    job = {"template": {"spec": {"containers": [{"name": "bake", "image": "baker:1"}]}}}
    source = {"image": {"ssmParameter": "/golden/base"}} if after == "image" else {"job": job}
    stage.edit("GoldenImage", "web", source={"imageBuilder": None, **source})
    stage.wait(lambda: works.states() == {"CANCELLED": 1}, "the build is cancelled")
    stage.wait_ready("GoldenImage", "web")
    assert works.builders() == []
    assert works.build("web", "build") == {}


def test_builds_wait_for_a_free_place(stage: Stage, works: Works) -> None:
    stage.aws.settings.update(build_seconds=1.5)
    names = [f"web-{n}" for n in range(4)]
    stage.apply(*(built(n) for n in names))
    most = 0

    def watch(_: object) -> None:
        nonlocal most
        running = [b for b in works.builds() if b["state"]["status"] not in ("AVAILABLE", "FAILED")]
        most = max(most, len(running))

    stage.aws.faults.after("CreateImage", watch)
    stage.start(MAX_BUILDS="2")
    for name in names:
        stage.wait(lambda name=name: stage.ready("GoldenImage", name), f"{name} Ready", 40)
    assert most == 2
    assert works.states() == {"AVAILABLE": 4}


def test_a_build_that_is_refused_gives_its_place_to_others(stage: Stage, works: Works) -> None:
    bad = {**RECIPE, "infrastructure": {"instanceProfile": "no-such-profile"}}
    stage.apply(built("a-bad", imageBuilder=bad))
    stage.start(MAX_BUILDS="1")
    stage.wait_reason("GoldenImage", "a-bad", "BuildRefused")
    stage.apply(built("good"))
    stage.wait_ready("GoldenImage", "good")
    assert works.states() == {"AVAILABLE": 1}


def test_a_spec_that_comes_back_is_built_again(stage: Stage, works: Works) -> None:
    stage.apply(built())
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    for version, folder in ((2, "/a"), (3, "/b"), (4, "/a")):
        recipe = {**RECIPE["recipe"], "workingDirectory": folder}
        stage.edit("GoldenImage", "web", source={"imageBuilder": {"recipe": recipe}})
        stage.wait_version(version, "web")
    assert works.states() == {"AVAILABLE": 4}
    stage.assert_nothing_twice(HOME)


def test_a_lost_home_ami_is_built_anew(stage: Stage, works: Works) -> None:
    stage.apply(built())
    stage.start(resync=2)
    stage.wait_ready("GoldenImage", "web")
    gone = stage.image("web", HOME)
    stage.aws.client("ec2", HOME).deregister_image(ImageId=gone)
    stage.wait_version(2, "web")
    assert works.build("web")["trigger"] == f"lost/{gone}"


def test_observe_only_tells(stage: Stage, works: Works) -> None:
    stage.apply(built(managementPolicy="Observe"))
    stage.start()
    stage.wait(
        lambda: any("start build" in p for p in stage.status("GoldenImage", "web").get("plan", [])),
        "the plan names the build",
    )
    assert works.builds() == []


def test_a_source_that_becomes_a_build_keeps_what_it_has(stage: Stage, works: Works) -> None:
    made = register(stage.aws, "by-hand", make_snapshot(stage.aws))
    stage.apply(built("web", imageBuilder=RECIPE) | {})
    document = built("web")
    document["spec"]["source"] = {"image": {"id": made}}
    stage.delete("GoldenImage", "web")
    stage.apply(document)
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    stage.edit("GoldenImage", "web", source={"image": None, "imageBuilder": RECIPE})
    stage.wait_version(2, "web")
    assert works.build("web")["trigger"].startswith("spec/")
    assert made in works.amis()
