"""What uses AMIs, as the calls tell it."""

from gilder.aws import usage
from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

B = "222222222222"


def test_old_versions_of_launch_templates_of_others_count(
    aws: SandboxAws, seeded: Seeded, sessions: Sessions
) -> None:
    """By itself AWS looks at the newest 20 versions only."""
    ec2, consumer = sessions.ec2("eu-west-1"), aws.client("ec2", account=B)
    image = seeded.base_image
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": B}]})
    consumer.create_launch_template(LaunchTemplateName="old", LaunchTemplateData={"ImageId": image})
    for _ in range(25):
        consumer.create_launch_template_version(
            LaunchTemplateName="old", LaunchTemplateData={"ImageId": "ami-00000000000000001"}
        )
    usage.ask(ec2, image, "token")
    found = usage.reported(ec2, [image], seeded.account)
    assert found[image].others == (f"1 ec2:LaunchTemplate of account {B}",)
