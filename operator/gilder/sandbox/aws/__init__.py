"""The sandbox's AWS: moto over HTTP, and what moto lacks of the AWS that the operator relies on."""

import os

# moto reads it early; its 1,301 built-in AMIs cost 1.5 s and hide the ones under test.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
