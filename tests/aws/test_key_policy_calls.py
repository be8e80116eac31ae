"""Key policies to the letter, and what the other account may do by them."""

import json

import pytest
from botocore.exceptions import ClientError

from gilder.aws import consumers, keys
from gilder.aws.sessions import Sessions
from gilder.core import rules
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"


def test_a_policy_is_put_and_read_to_the_letter(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    kms, key, member = sessions.kms(HOME), seeded.keys[HOME], seeded.members[0]
    theirs = aws.client("kms", HOME, member)
    before = keys.policy_text(kms, key)
    assert consumers.key_usable(theirs, key) != ""
    policy = json.loads(before)
    policy["Statement"].append(rules.policy_statement(seeded.organization_id, None))
    text = json.dumps(policy, indent=3)
    keys.put_policy(kms, key, text)
    assert keys.policy_text(kms, key) == text
    assert keys.policy(kms, key) == policy
    assert consumers.key_usable(theirs, key) == ""
    assert consumers.key_usable(aws.client("kms", HOME, "999999999999"), key) != ""
    keys.put_policy(kms, key, before)
    assert keys.policy_text(kms, key) == before
    assert consumers.key_usable(theirs, key) != ""


def test_a_policy_that_locks_out_is_refused(sessions: Sessions, seeded: Seeded) -> None:
    kms, key = sessions.kms(HOME), seeded.keys[HOME]
    before = keys.policy_text(kms, key)
    alone = {
        "Version": "2012-10-17",
        "Statement": [rules.policy_statement(seeded.organization_id, None)],
    }
    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        keys.put_policy(kms, key, json.dumps(alone))
    assert keys.policy_text(kms, key) == before
