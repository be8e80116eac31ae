"""From an HTTP request to its answer."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gilder.sandbox.kubernetes import (
    batch,
    discovery,
    logs,
    negotiation,
    openapi,
    routes,
    tables,
)
from gilder.sandbox.kubernetes.api import Api, Options, Written, selection
from gilder.sandbox.kubernetes.client import AGENT
from gilder.sandbox.kubernetes.counters import Requests
from gilder.sandbox.kubernetes.errors import (
    ApiError,
    bad_request,
    gone,
    internal,
    method_not_allowed,
    no_such_path,
    plain,
)
from gilder.sandbox.kubernetes.faults import Faults
from gilder.sandbox.kubernetes.objects import key_of
from gilder.sandbox.kubernetes.reviews import review
from gilder.sandbox.kubernetes.routes import Target
from gilder.sandbox.kubernetes.store import Object
from gilder.sandbox.kubernetes.watches import DroppedError, Query, Watches

_DEFAULT_WATCH_SECONDS = 1800.0


class Handler:
    """Answers every request of the server."""

    def __init__(self, api: Api, watches: Watches, faults: Faults, requests: Requests) -> None:
        self._api = api
        self._watches = watches
        # Those of the sandbox's own controllers: out of reach of faults, and not counted.
        self._own_watches = Watches(api.store, api.registry)
        self._faults = faults
        self._requests = requests

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _error(error)
        except web.HTTPRequestEntityTooLarge:
            return _error(
                ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
            )
        except Exception as error:  # noqa: BLE001 - the client is to see what went wrong
            return _error(internal(f"{type(error).__name__}: {error}"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = [p for p in request.path.split("/") if p]
        found = routes.group_version(parts)
        target = None
        if found is not None and found[2]:
            target = routes.target(self._api.registry, *found)
        verb, resource = request.method.lower(), request.path
        watch = request.query.get("watch") in ("true", "1")
        if target is not None:
            verb, resource = target.verb(request.method, watch=watch), target.resource
        if not _is_own(request):
            self._requests.add(verb, resource)
            fault = self._faults.taken(request.method, request.path_qs)
            if fault is not None:
                raise fault
            self._faults.run(request.method, request.path_qs, after=False)
            answer = await self._served(request, found, target, parts, verb)
            self._faults.run(request.method, request.path_qs, after=True)
            return answer
        return await self._served(request, found, target, parts, verb)

    async def _served(
        self,
        request: web.Request,
        found: tuple[str, str, list[str]] | None,
        target: Target | None,
        parts: list[str],
        verb: str,
    ) -> web.StreamResponse:
        if target is not None:
            return await self._resource(request, target, verb)
        if found is not None and found[2]:
            return await self._virtual(request, *found)
        return self._document(request, parts)

    def _document(self, request: web.Request, parts: list[str]) -> web.Response:
        """Documents about the server."""
        registry = self._api.registry
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        found: Any = None
        match parts:
            case []:
                found = {"paths": discovery.PATHS}
            case ["healthz" | "livez" | "readyz", *_]:
                return web.Response(text="ok")
            case ["version"]:
                found = discovery.VERSION
            case ["api"]:
                found = discovery.core_versions()
            case ["apis"]:
                found = discovery.group_list(registry)
            case ["apis", group]:
                versions = discovery.groups(registry).get(group)
                if versions:
                    found = {"kind": "APIGroup", "apiVersion": "v1"}
                    found |= discovery.group(group, versions)
            case ["api", version]:
                found = discovery.resource_list(registry, "", version)
            case ["apis", group, version]:
                found = discovery.resource_list(registry, group, version)
            case ["openapi", "v2"]:
                negotiation.shape(request.headers.get("Accept", ""))
                found = {"swagger": "2.0", "info": {"title": "Kubernetes"}, "paths": {}}
            case ["openapi", "v3"]:
                found = openapi.index(registry)
            case ["openapi", "v3", "api", version]:
                found = openapi.document(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                found = openapi.document(registry, group, version)
        if found is None:
            raise no_such_path()
        return _json(found)

    async def _virtual(
        self, request: web.Request, group: str, version: str, rest: list[str]
    ) -> web.Response:
        kinds = discovery.REVIEWS.get((group, version), {})
        if rest[0] not in kinds or request.method != "POST":
            raise no_such_path()
        body = negotiation.body(await request.read(), request.headers.get("Content-Type", ""))
        return _json(review(kinds[rest[0]], f"{group}/{version}", body), 201)

    async def _resource(
        self, request: web.Request, target: Target, verb: str
    ) -> web.StreamResponse:
        kind = target.kind
        if target.subresource in kind.subresources:
            return self._log(request, target, verb)
        shape = negotiation.shape(request.headers.get("Accept", ""))
        match verb:
            case "watch":
                return await self._watch(request, target, shape.name)
            case "list":
                return self._list(request.query, target, shape.name)
            case "get":
                obj = self._api.get(kind, target.namespace, target.name)
                return _json(_shaped(obj, target, shape.name, request.query))
        if target.kind.namespaced and not target.namespace:
            raise method_not_allowed()
        content = await request.read()
        content_type = request.headers.get("Content-Type", "")
        options = _options(request.query)
        match verb:
            case "create" if not target.name:
                body = negotiation.body(content, content_type)
                written = self._api.create(kind, target.namespace, body, options)
            case "update" if target.name:
                body = negotiation.body(content, content_type)
                written = self._api.update(
                    kind, target.namespace, target.name, body, target.subresource, options
                )
            case "patch" if target.name:
                media = content_type.split(";")[0].strip()
                body = negotiation.body(content, content_type)
                if media.endswith("+yaml") and not request.query.get("fieldManager"):
                    raise bad_request("fieldManager is required for apply patch")
                written = self._api.patch(
                    kind, target.namespace, target.name, media, body, target.subresource, options
                )
            case "delete" | "deletecollection" if not target.subresource:
                wanted = _delete_options(request.query, content, content_type)
                response = self._delete(request.query, target, wanted, options)
                if kind.orphans and not wanted["propagationPolicy"]:
                    response.headers.add("Warning", _warning(batch.ORPHAN_WARNING))
                return response
            case _:
                raise method_not_allowed()
        return _written(written, target, shape.name, request.query)

    def _log(self, request: web.Request, target: Target, verb: str) -> web.Response:
        if verb != "get":
            raise method_not_allowed()
        pod = self._api.get(target.kind, target.namespace, target.name)
        text = logs.answer(pod, request.query, self._api.logs)
        return web.Response(body=text, content_type="text/plain")

    def _list(self, query: Mapping[str, str], target: Target, shape: str) -> web.Response:
        version = query.get("resourceVersion", "")
        asked = _number(version, "resourceVersion")
        if asked > self._api.store.revision:
            raise plain(
                504,
                f"Timeout: Too large resource version: {asked}, "
                f"current: {self._api.store.revision}",
            )
        exact = query.get("resourceVersionMatch") == "Exact"
        page = self._api.page(
            target.kind,
            target.namespace,
            _selection(query, target),
            limit=_number(query.get("limit", ""), "limit"),
            token=query.get("continue", ""),
            exact=asked if exact else None,
        )
        metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
        if page.token:
            metadata |= {"continue": page.token, "remainingItemCount": page.remaining}
        if shape == "Table":
            include = query.get("includeObject", "Metadata")
            return _json(tables.table(page.items, target.kind, metadata, include))
        items = page.items
        name, version = target.kind.list_kind, target.kind.api_version
        if shape == "PartialObjectMetadata":
            items = [tables.partial(o) for o in items]
            name, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        return _json({"kind": name, "apiVersion": version, "metadata": metadata, "items": items})

    async def _watch(self, request: web.Request, target: Target, shape: str) -> web.StreamResponse:
        query = request.query
        if query.get("sendInitialEvents"):
            raise ApiError(
                422,
                "Invalid",
                "ListOptions.meta.k8s.io is invalid: sendInitialEvents: Forbidden: "
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate "
                "is enabled",
            )
        since = _number(query.get("resourceVersion", ""), "resourceVersion")
        if self._faults.gone_as_status and 0 < since < self._api.store.compacted:
            raise gone(f"too old resource version: {since} ({self._api.store.compacted})")
        seconds = _number(query.get("timeoutSeconds", ""), "timeoutSeconds")
        watched = Query(
            kind=target.kind,
            namespace=target.namespace,
            matches=_selection(query, target),
            since=since,
            timeout=seconds or _DEFAULT_WATCH_SECONDS,
            bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
            render=lambda obj: _shaped(obj, target, shape, query),
        )
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            watches = self._own_watches if _is_own(request) else self._watches
            await watches.stream(watched, response.write)
            await response.write_eof()
        except DroppedError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the client has left
        return response

    def _delete(
        self,
        query: Mapping[str, str],
        target: Target,
        wanted: dict[str, Any],
        options: Options,
    ) -> web.Response:
        dry = options.dry_run or wanted.get("dryRun") == ["All"]
        kind = target.kind
        if target.name:
            obj, removed = self._api.delete(kind, target.namespace, target.name, wanted, dry=dry)
            if not removed:
                return _json(obj)
            details = {
                "name": target.name,
                "group": kind.group,
                "kind": kind.plural,
                "uid": obj["metadata"]["uid"],
            }
            return _json(
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Success",
                    "details": {k: v for k, v in details.items() if v},
                }
            )
        page = self._api.page(kind, target.namespace, _selection(query, target))
        for obj in page.items:
            namespace, name = key_of(obj)
            self._api.delete(kind, namespace, name, wanted, dry=dry)
        return _json(
            {
                "kind": kind.list_kind,
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": str(self._api.store.revision)},
                "items": page.items,
            }
        )


def _is_own(request: web.Request) -> bool:
    return request.headers.get("User-Agent") == AGENT


def _selection(query: Mapping[str, str], target: Target) -> Any:
    return selection(target.kind, query.get("labelSelector", ""), query.get("fieldSelector", ""))


def _shaped(obj: Object, target: Target, shape: str, query: Mapping[str, str]) -> Any:
    if shape == "Table":
        include = query.get("includeObject", "Metadata")
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        if "uid" not in obj["metadata"]:  # a bookmark
            return tables.bookmark(obj)
        return tables.table([obj], target.kind, metadata, include)
    return tables.partial(obj) if shape == "PartialObjectMetadata" else obj


def _delete_options(query: Mapping[str, str], content: bytes, content_type: str) -> dict[str, Any]:
    wanted = negotiation.body(content, content_type) if content.strip() else {}
    if not isinstance(wanted, dict):
        raise bad_request("DeleteOptions must be an object")
    policy = query.get("propagationPolicy") or wanted.get("propagationPolicy")
    return {**wanted, "propagationPolicy": policy}


def _options(query: Mapping[str, str]) -> Options:
    dry = query.get("dryRun", "")
    if dry not in ("", "All"):
        raise bad_request(f'Unsupported value: "{dry}": supported values: "All"')
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise bad_request(
            f'Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
        )
    return Options(dry_run=bool(dry), field_validation=validation)


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise bad_request(f'{name}: Invalid value: "{text}": must be a number')
    return int(text)


def _written(
    written: Written, target: Target, shape: str, query: Mapping[str, str]
) -> web.Response:
    response = _json(_shaped(written.obj, target, shape, query), 201 if written.created else 200)
    for warning in written.warnings:
        response.headers.add("Warning", _warning(warning))
    return response


def _warning(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=json.dumps(body, separators=(",", ":")).encode(),
        status=status,
        content_type="application/json",
    )


def _error(error: ApiError) -> web.Response:
    response = _json(error.status(), error.code)
    if error.code == 429:
        response.headers["Retry-After"] = "1"
    return response
