"""The access file: what it may say, and how errors name the field and the fix."""

import pytest

from gilder.api.access import AccessError, AccessFile, AssumedRole, load

FULL = """
accounts:
- id: "111111111111"
  name: prod
  profile: prod
  roles:
  - arn: arn:aws:iam::999999999999:role/hub
  - arn: arn:aws:iam::111111111111:role/path/gilder
    externalId: abc
    sessionTags: {team: platform}
    transitiveTagKeys: [team]
    durationSeconds: 3600
consumers:
- accounts: ["2*", "333333333333"]
  roles: [{arn: "arn:aws:iam::{account}:role/gilder-consumer", externalId: xyz}]
organizations:
  account: "111111111111"
namespaces:
- names: [images, "team-*"]
  accounts: [own, "111111111111"]
  consumers: ["*"]
  keyPolicies: true
  plainImages: true
  organizationLists: true
  parameterLists: ["/gilder/*"]
  maxPrincipals: 500
  allow: {accounts: ["2*"], organizations: ["o-*"], organizationalUnits: ["ou-ab12-*"]}
  deny: {accounts: ["222222222222"]}
- names: ["*"]
"""
ROLE = "arn: arn:aws:iam::111111111111:role/gilder"
TARGET = f'accounts: [{{id: "111111111111", roles: [{{{ROLE}}}]}}]\n'


def test_a_full_file_is_read() -> None:
    file = load(FULL)
    (target,) = file.accounts
    assert [r.account for r in target.roles] == ["999999999999", "111111111111"]
    assert target.roles[1].session_tags == {"team": "platform"}
    first, last = file.namespaces
    assert (first.accounts, first.max_principals) == (("own", "111111111111"), 500)
    assert (first.allow.accounts, first.deny.organizations) == (("2*",), ())
    assert (last.accounts, last.consumers, last.max_principals) == (("own",), (), 1000)
    assert (last.key_policies, last.public, last.plain_images) == (False, False, False)
    assert last.allow.organizational_units == ("*",)
    assert AccessFile.model_validate(file.model_dump(by_alias=True)) == file


def test_a_consumer_role_is_filled_in() -> None:
    (consumer,) = load(FULL).consumers
    assert consumer.roles[0].of("222222222222") == AssumedRole(
        arn="arn:aws:iam::222222222222:role/gilder-consumer", external_id="xyz"
    )


BAD = {
    "": "must be a mapping with accounts, consumers, organizations, namespaces",
    "a: [": "not YAML: ",
    "namespaces: []\nnamespaces: []": "namespaces is there twice",
    "namespace: []": "namespace: unknown field; remove it or correct its name",
    "namespaces: [{names: [a], maxPrincipal: 1}]": "namespaces[0].maxPrincipal: unknown field",
    "namespaces: [{names: []}]": "namespaces[0].names: ",
    "namespaces: [{}]": "namespaces[0].names: required",
    "namespaces: [{names: [a], accounts: [prod]}]": 'namespaces[0].accounts[0]: must be "own" or',
    'namespaces: [{names: [a], accounts: ["111111111111"]}]': (
        "namespaces[0].accounts[0]: 111111111111 is not in accounts; add it there"
    ),
    "namespaces: [{names: [a], maxPrincipals: 0}]": "namespaces[0].maxPrincipals: ",
    "namespaces: [{names: [a], deny: {accounts: ['2222']}}]": (
        "namespaces[0].deny.accounts[0]: must be an account id of 12 digits, or digits with"
    ),
    "namespaces: [{names: [a], deny: {organizations: ['ou-1']}}]": (
        "namespaces[0].deny.organizations[0]: must be the id of an organization (o-"
    ),
    "namespaces: [{names: [a], allow: {organizationalUnits: ['x']}}]": (
        "namespaces[0].allow.organizationalUnits[0]: must be the id of an organizational unit"
    ),
    "accounts: [{id: 111111111111}]": "accounts[0].id: must be text; write it in quotes",
    "accounts: [{id: '1'}]": "accounts[0].id: must be an AWS account id of 12 digits (got '1')",
    "accounts: [{id: '111111111111'}]": (
        "accounts[0]: no credentials lead to 111111111111; set roles or profile"
    ),
    "accounts: [{id: '111111111111', profile: a}, {id: '111111111111', profile: b}]": (
        "accounts[1].id: 111111111111 is in accounts[0] already; remove one"
    ),
    f"accounts: [{{id: '222222222222', roles: [{{{ROLE}}}]}}]": (
        "accounts[0].roles[0].arn: the last role is of account 111111111111, but id is 222222222222"
    ),
    "accounts: [{id: '111111111111', roles: [{arn: 'arn:aws:iam::{account}:role/x'}]}]": (
        "accounts[0].roles[0].arn: must be a role ARN, arn:aws:iam::<12 digits>:role/<name>"
    ),
    f"accounts: [{{id: '111111111111', roles: [{{{ROLE}, externalId: 'a b'}}]}}]": (
        "accounts[0].roles[0].externalId: must have 2 to 1224"
    ),
    f"accounts: [{{id: '111111111111', roles: [{{{ROLE}, durationSeconds: 60}}]}}]": (
        "accounts[0].roles[0].durationSeconds: "
    ),
    (
        "accounts: [{id: '111111111111', roles: [{arn: 'arn:aws:iam::999999999999:role/hub', "
        f"durationSeconds: 7200}}, {{{ROLE}, durationSeconds: 7200}}]}}]"
    ): "accounts[0].roles[1].durationSeconds: a role that is assumed with another role lasts 3600",
    f"accounts: [{{id: '111111111111', roles: [{{{ROLE}, transitiveTagKeys: [team]}}]}}]": (
        "accounts[0].roles[0].transitiveTagKeys: team is no key of sessionTags; add it there"
    ),
    (
        "accounts: [{id: '111111111111', roles: [{arn: 'arn:aws:iam::999999999999:role/hub', "
        "sessionTags: {team: a}, transitiveTagKeys: [team]}, "
        f"{{{ROLE}, sessionTags: {{Team: b}}}}]}}]"
    ): "accounts[0].roles[1].sessionTags: Team comes from a role before already",
    "organizations: {account: '111111111111'}": (
        "organizations.account: 111111111111 is not in accounts; add it there, or leave"
    ),
    f"consumers: [{{accounts: ['2*'], roles: [{{{ROLE}}}]}}]": (
        "consumers[0].roles[0].arn: accounts match more than 111111111111; write {account}"
    ),
    f"consumers: [{{accounts: ['222222222222'], roles: [{{{ROLE}}}]}}]": (
        "consumers[0].roles[0].arn: the last role is of account 111111111111, but accounts has"
    ),
    "consumers: [{accounts: ['2*'], roles: []}]": "consumers[0].roles: ",
    "consumers: [{accounts: ['2*'], roles: [{arn: role/x}]}]": "consumers[0].roles[0].arn: must be",
}


@pytest.mark.parametrize(("text", "said"), BAD.items(), ids=range(len(BAD)))
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(AccessError) as caught:
        load(text)
    assert said in str(caught.value)


def test_all_errors_are_told_one_per_line() -> None:
    text = "organizations: {account: '2'}\nnamespaces: [{names: [a], nope: 1, accounts: [x]}]"
    with pytest.raises(AccessError) as caught:
        load(text)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "organizations.account",
        "namespaces[0].accounts[0]",
        "namespaces[0].nope",
    ]
    with pytest.raises(AccessError) as caught:
        load(
            TARGET.replace("id: ", "id: '222222222222', name: ")
            + "organizations: {account: '333333333333'}"
        )
    assert len(str(caught.value).splitlines()) == 2


def test_roles_of_other_partitions_and_merged_keys_are_taken() -> None:
    text = (
        "accounts:\n- &a {id: '111111111111', profile: p, "
        "roles: [{arn: 'arn:aws-us-gov:iam::111111111111:role/g'}]}\n"
        "- {<<: *a, id: '222222222222', roles: [{arn: 'arn:aws-cn:iam::222222222222:role/g'}]}"
    )
    assert [a.profile for a in load(text).accounts] == ["p", "p"]
