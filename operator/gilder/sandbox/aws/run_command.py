"""Run Command of Systems Manager: on exactly the instances that were named."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from moto.ssm.responses import SimpleSystemManagerResponse

from gilder.sandbox.aws.commands import (
    COMMANDS,
    DELIVERY_TIMEOUT,
    FINAL,
    Command,
    Invocation,
    instances_of,
    ping,
)
from gilder.sandbox.aws.documents import find_document
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.filters import matches
from gilder.sandbox.aws.pagination import page
from gilder.sandbox.aws.registry import Call, Handler, plain_method
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.times import moment, stamp

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetCommandInvocation.html
_STDOUT, _STDERR, _LISTED = 24_000, 8_000, 2_500
# The share of an invocation's time that it is Pending.
_PENDING_SHARE = 0.2


def _targets(call: Call) -> list[str]:
    """The instances of a command. Named ones must be reachable, others are left out."""
    named, targets = list(call.get("InstanceIds", [])), list(call.get("Targets", []))
    if bool(named) == bool(targets):
        raise AwsError("ValidationException", "Give either InstanceIds or Targets.")
    if len(set(named)) != len(named):
        raise AwsError("DuplicateInstanceId", "An instance is named twice.")
    for target in targets:
        if target["Key"] == "InstanceIds":
            named += target["Values"]
    bad = [i for i in named if not COMMANDS.reachable(call.account, call.region, i)]
    if bad:
        raise AwsError(
            "InvalidInstanceId",
            f"Instances [[{', '.join(bad)}]] not in a valid state for account {call.account}",
        )
    if named:
        return named
    tags = call.backend.tags
    found = []
    for instance_id in instances_of(call.account, call.region):
        present = tags.get(instance_id, {})
        if COMMANDS.reachable(call.account, call.region, instance_id) and all(
            _tagged(target, present) for target in targets
        ):
            found.append(instance_id)
    return found


def _tagged(target: Mapping[str, Any], present: Mapping[str, str]) -> bool:
    key, values = target["Key"], target.get("Values", [])
    if key == "tag-key":
        return any(v in present for v in values)
    if not key.startswith("tag:"):
        raise AwsError("ValidationException", f"'{key}' is not a target key of the sandbox.")
    name = key[len("tag:") :]
    return name in present and any(matches(v, present[name]) for v in values)


def send_command(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html"""
    document, version, plugins = find_document(call, call.need("DocumentName"))
    now = CLOCK.time()
    command = Command(
        str(uuid.uuid4()), call.account, call.region, document, version, plugins,
        dict(call.params), now,
    )  # fmt: skip
    for instance_id in _targets(call):
        outcome = COMMANDS.take(document, instance_id)
        command.invocations.append(
            Invocation(instance_id, now, now + SETTINGS.command_seconds, outcome)
        )
    COMMANDS.add(command)
    return {"Command": _shown(command, fresh=True)}


def _status(invocation: Invocation) -> tuple[str, str]:
    if invocation.status is not None:
        return invocation.status, invocation.details
    duration = invocation.ends - invocation.sent
    passed = CLOCK.time() - invocation.sent
    status = "Pending" if passed < duration * _PENDING_SHARE or duration == 0 else "InProgress"
    return status, status


def _whole(statuses: Sequence[str]) -> tuple[str, str]:
    """The status of a command by those of its invocations."""
    if not statuses:
        return "Success", "NoInstancesInTag"
    if all(s == "Pending" for s in statuses):
        return "Pending", "Pending"
    if any(s not in FINAL for s in statuses):
        return "InProgress", "InProgress"
    for status in ("Failed", "TimedOut", "Cancelled"):
        if status in statuses:
            return status, status
    return "Success", "Success"


def _shown(command: Command, *, fresh: bool = False) -> dict[str, Any]:
    statuses = ["Pending" if fresh else _status(i)[0] for i in command.invocations]
    status, details = ("Pending", "Pending") if fresh else _whole(statuses)
    params = command.params
    timeout = params.get("TimeoutSeconds") or DELIVERY_TIMEOUT
    out = {
        "CommandId": command.id,
        "DocumentName": command.document,
        "DocumentVersion": params.get("DocumentVersion", "$DEFAULT"),
        "Comment": params.get("Comment", ""),
        "ExpiresAfter": moment(command.sent + timeout),
        "RequestedDateTime": moment(command.sent),
        "Status": status,
        "StatusDetails": details,
        "TimeoutSeconds": timeout,
        "MaxConcurrency": params.get("MaxConcurrency", "50"),
        "MaxErrors": params.get("MaxErrors", "0"),
        # SendCommand's own answer counts nothing yet.
        "TargetCount": 0 if fresh else len(statuses),
        "CompletedCount": sum(s in FINAL for s in statuses),
        "ErrorCount": sum(s in ("Failed", "TimedOut") for s in statuses),
        "DeliveryTimedOutCount": sum(i.details == "DeliveryTimedOut" for i in command.invocations),
        "ServiceRole": params.get("ServiceRoleArn", ""),
        "InstanceIds": list(params.get("InstanceIds", [])),
    }
    kept = (
        "Parameters", "Targets", "OutputS3Region", "OutputS3BucketName", "OutputS3KeyPrefix",
        "CloudWatchOutputConfig", "NotificationConfig",
    )  # fmt: skip
    return out | {k: params[k] for k in kept if params.get(k) is not None}


def _need_command(call: Call, command_id: str) -> Command:
    found = next((c for c in COMMANDS.sent() if c.id == command_id), None)
    if found is None or (found.account, found.region) != (call.account, call.region):
        raise AwsError("InvalidCommandId", f"The command {command_id} does not exist.")
    return found


def _plugin_result(
    command: Command, invocation: Invocation, plugin: str
) -> tuple[str, str, int, str, str]:
    """Status, details, exit code, output and errors of a plugin; the last one has the outcome."""
    status, details = _status(invocation)
    if status not in FINAL:
        return status, details, -1, "", ""
    if plugin != command.plugins[-1]:
        return "Success", "Success", 0, "", ""
    if invocation.result is None:
        return status, details, 0 if status == "Success" else -1, "", ""
    result = invocation.result
    code = result.exit_code if status in ("Success", "Failed") else -1
    return status, details, code, result.stdout, result.stderr


def get_command_invocation(call: Call) -> Mapping[str, Any]:
    """A document with several steps needs the name of one as PluginName."""
    try:
        command = _need_command(call, call.need("CommandId"))
    except AwsError as problem:
        raise AwsError("InvocationDoesNotExist", "") from problem
    instance_id, plugin = call.need("InstanceId"), call.get("PluginName")
    invocation = next((i for i in command.invocations if i.instance == instance_id), None)
    if invocation is None or CLOCK.time() < command.sent + SETTINGS.invocation_lag:
        raise AwsError("InvocationDoesNotExist", "")
    if plugin is None and len(command.plugins) == 1:
        plugin = command.plugins[0]
    if plugin not in command.plugins:
        raise AwsError(
            "InvalidPluginName", f"PluginName must be one of: {', '.join(command.plugins)}"
        )
    status, details, code, stdout, stderr = _plugin_result(command, invocation, plugin)
    begun = status != "Pending"
    ended = invocation.ended
    passed = (ended or CLOCK.time()) - invocation.sent
    return {
        "CommandId": command.id,
        "InstanceId": instance_id,
        "Comment": command.params.get("Comment", ""),
        "DocumentName": command.document,
        "DocumentVersion": command.params.get("DocumentVersion", "$DEFAULT"),
        "PluginName": plugin,
        "ResponseCode": code,
        "ExecutionStartDateTime": stamp(invocation.sent) if begun else "",
        "ExecutionElapsedTime": f"PT{passed:.3f}S" if begun else "",
        "ExecutionEndDateTime": stamp(ended) if ended is not None else "",
        "Status": status,
        "StatusDetails": details,
        "StandardOutputContent": stdout[:_STDOUT],
        "StandardOutputUrl": "",
        "StandardErrorContent": stderr[:_STDERR],
        "StandardErrorUrl": "",
    }


def _plugin_entry(command: Command, invocation: Invocation, plugin: str) -> dict[str, Any]:
    status, details, code, stdout, stderr = _plugin_result(command, invocation, plugin)
    output = stdout + (f"\n----------ERROR-------\n{stderr}" if stderr else "")
    entry: dict[str, Any] = {
        "Name": plugin,
        "Status": status,
        "StatusDetails": details,
        "ResponseCode": code,
        "ResponseStartDateTime": moment(invocation.sent),
        "Output": output[:_LISTED],
    }
    if invocation.ended is not None:
        entry["ResponseFinishDateTime"] = moment(invocation.ended)
    return entry


def list_command_invocations(call: Call) -> Mapping[str, Any]:
    listed = []
    for command in _wanted(call):
        for invocation in command.invocations:
            if call.get("InstanceId") not in (None, invocation.instance):
                continue
            status, details = _status(invocation)
            if not _passes(call, command, status):
                continue
            entry: dict[str, Any] = {
                "CommandId": command.id,
                "InstanceId": invocation.instance,
                "Comment": command.params.get("Comment", ""),
                "DocumentName": command.document,
                "DocumentVersion": command.params.get("DocumentVersion", "$DEFAULT"),
                "RequestedDateTime": moment(command.sent),
                "Status": status,
                "StatusDetails": details,
                "CommandPlugins": [],
            }
            if call.get("Details"):
                entry["CommandPlugins"] = [
                    _plugin_entry(command, invocation, p) for p in command.plugins
                ]
            listed.append(entry)
    chosen, rest = _paged(call, listed, lambda e: f"{e['CommandId']} {e['InstanceId']}")
    return {"CommandInvocations": chosen, **rest}


def list_commands(call: Call) -> Mapping[str, Any]:
    listed = []
    for command in _wanted(call):
        shown = _shown(command)
        on = [i.instance for i in command.invocations]
        if call.get("InstanceId") is not None and call.get("InstanceId") not in on:
            continue
        if _passes(call, command, shown["Status"]):
            listed.append(shown)
    chosen, rest = _paged(call, listed, lambda e: str(e["CommandId"]))
    return {"Commands": chosen, **rest}


def _wanted(call: Call) -> list[Command]:
    """The commands of the caller, the newest first."""
    if call.get("CommandId") is not None:
        return [_need_command(call, call.get("CommandId"))]
    own = [c for c in COMMANDS.sent() if (c.account, c.region) == (call.account, call.region)]
    return own[::-1]


def _passes(call: Call, command: Command, status: str) -> bool:
    for item in call.get("Filters", []):
        key, value = item["key"], item["value"]
        if key == "Status":
            if status != value:
                return False
        elif key == "DocumentName":
            if command.document != value:
                return False
        elif key in ("InvokedAfter", "InvokedBefore"):
            limit = datetime.fromisoformat(value)
            if (moment(command.sent) >= limit) is not (key == "InvokedAfter"):
                return False
        else:
            raise AwsError("InvalidFilterKey", f"The sandbox does not filter by {key}.")
    return True


def _paged(call: Call, listed: list[dict[str, Any]], key: Any) -> tuple[Any, dict[str, Any]]:
    problem = AwsError("InvalidNextToken", "The specified token isn't valid.")
    limit = min(call.get("MaxResults", 50), 50)
    chosen, token = page(listed, key, limit, call.get("NextToken"), problem)
    return chosen, {} if token is None else {"NextToken": token}


def cancel_command(call: Call) -> Mapping[str, Any]:
    """Ends what has not ended yet; what already ran stays as it is."""
    command = _need_command(call, call.need("CommandId"))
    wanted = list(call.get("InstanceIds", [])) or [i.instance for i in command.invocations]
    unknown = set(wanted) - {i.instance for i in command.invocations}
    if unknown:
        raise AwsError("InvalidInstanceId", f"Not part of the command: {', '.join(unknown)}")
    for invocation in command.invocations:
        if invocation.instance in wanted and invocation.status is None:
            invocation.status = invocation.details = "Cancelled"
            invocation.ended, invocation.result = CLOCK.time(), None
    return {}


_INFORMATION_FILTERS = {
    "InstanceIds": "InstanceId",
    "PingStatus": "PingStatus",
    "PlatformTypes": "PlatformType",
    "ResourceType": "ResourceType",
    "AgentVersion": "AgentVersion",
}


def describe_instance_information(call: Call) -> Mapping[str, Any]:
    """The instances that Systems Manager has seen."""
    listed: list[dict[str, Any]] = []
    for instance_id, instance in instances_of(call.account, call.region).items():
        status = ping(call.account, call.region, instance_id)
        if status is None:
            continue
        if COMMANDS.is_offline(instance_id):
            status = "ConnectionLost"
        listed.append(
            {
                "InstanceId": instance_id,
                "PingStatus": status,
                "LastPingDateTime": moment(CLOCK.time()),
                "AgentVersion": "3.3.1611.0",
                "IsLatestVersion": True,
                "PlatformType": "Windows" if instance.platform else "Linux",
                "PlatformName": "Amazon Linux",
                "PlatformVersion": "2023",
                "ResourceType": "EC2Instance",
                "IPAddress": instance.private_ip,
                "ComputerName": f"ip-{instance.private_ip.replace('.', '-')}",
            }
        )
    filters = [(f["Key"], f["Values"]) for f in call.get("Filters", [])]
    filters += [(f["key"], f["valueSet"]) for f in call.get("InstanceInformationFilterList", [])]
    for key, values in filters:
        listed = [e for e in listed if _informed(call, e, key, values)]
    chosen, rest = _paged(call, listed, lambda e: str(e["InstanceId"]))
    return {"InstanceInformationList": chosen, **rest}


def _informed(call: Call, entry: Mapping[str, Any], key: str, values: Sequence[str]) -> bool:
    if key.startswith("tag:") or key == "tag-key":
        present = call.backend.tags.get(entry["InstanceId"], {})
        return _tagged({"Key": key, "Values": values}, present)
    if key not in _INFORMATION_FILTERS:
        raise AwsError("InvalidFilterKey", f"The filter key {key} isn't valid.")
    return entry[_INFORMATION_FILTERS[key]] in values


def _json_method(handler: Handler) -> Any:
    """A method for moto's response class, which does not parse by botocore's model."""

    method = plain_method(handler)

    def with_body(self: Any) -> Any:
        self.params = json.loads(self.body or "{}")
        return method(self)

    return with_body


def install() -> None:
    for handler in (
        send_command,
        get_command_invocation,
        list_command_invocations,
        list_commands,
        cancel_command,
        describe_instance_information,
    ):
        setattr(SimpleSystemManagerResponse, handler.__name__, _json_method(handler))
