"""A cluster's API through the official client, in plain JSON objects.

What the API server refuses for good becomes a `DomainError` for people; what another try may
mend becomes `Unreachable`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from backend.domain.errors import Invalid, NotAllowed
from workers.serving.launchers.launcher import Unreachable

JSON = dict[str, Any]

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
# A watch ends after so long by itself, so that a connection that died in silence is noticed.
WATCH_SECONDS = 240
_GONE = 410


class Kind(StrEnum):
    """The kinds of objects that a replica is made of."""

    DEPLOYMENT = "Deployment"
    SERVICE = "Service"
    AUTOSCALER = "HorizontalPodAutoscaler"
    SECRET = "Secret"  # noqa: S105
    INFERENCE_SERVICE = "InferenceService"
    POD = "Pod"


class Expired(Exception):
    """The place from which a watch was to go on is too long ago; list again."""


@dataclass(frozen=True)
class _Calls:
    create: Callable[..., Any]
    read: Callable[..., Any]
    list: Callable[..., Any]
    delete: Callable[..., Any]
    fixed: Mapping[str, str]


class Cluster:
    """One namespace of a cluster."""

    def __init__(
        self,
        namespace: str,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
    ) -> None:
        """Raises `Invalid` where there are no credentials for a cluster."""
        self.namespace = namespace
        self._client = _connect(kubeconfig, context)
        self._core = client.CoreV1Api(self._client)
        self._calls = self._by_kind()

    def create(self, kind: Kind, manifest: JSON) -> JSON | None:
        """The object as it was made; None where one of this name is there already."""
        calls = self._calls[kind]
        try:
            return self._json(
                calls.create(
                    **calls.fixed,
                    namespace=self.namespace,
                    body=manifest,
                    field_manager="loggia",
                    _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                )
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            if _status(error) == 409:
                return None
            raise self._explained(error, f"make the {kind} {manifest['metadata']['name']}") from (
                error
            )

    def read(self, kind: Kind, name: str) -> JSON | None:
        """The object, or None."""
        calls = self._calls[kind]
        try:
            return self._json(
                calls.read(
                    **calls.fixed,
                    namespace=self.namespace,
                    name=name,
                    _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                )
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            if _status(error) == 404:
                return None
            raise self._explained(error, f"read the {kind} {name}") from error

    def delete(self, kind: Kind, name: str, uid: str | None = None) -> bool:
        """Deletes the object with what belongs to it; where a `uid` is given, only that very one.

        False where there is no such object any more.
        """
        calls = self._calls[kind]
        options: JSON = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            calls.delete(
                **calls.fixed,
                namespace=self.namespace,
                name=name,
                body=options,
                _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            if _status(error) in {404, 409}:
                return False
            raise self._explained(error, f"delete the {kind} {name}") from error
        return True

    def list(self, kind: Kind, selector: str) -> tuple[list[JSON], str]:
        """Every object with these labels, and the version of that state."""
        calls = self._calls[kind]
        try:
            answer = self._json(
                calls.list(
                    **calls.fixed,
                    namespace=self.namespace,
                    label_selector=selector,
                    _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                )
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise self._explained(error, f"list objects of the kind {kind}") from error
        return answer.get("items") or [], answer["metadata"]["resourceVersion"]

    def watch(self, kind: Kind, selector: str, version: str) -> Iterator[tuple[str, JSON]]:
        """What changes after a version: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        Ends by itself after a while. Raises `Expired` where the version is too old.
        """
        calls = self._calls[kind]
        try:
            response = calls.list(
                **calls.fixed,
                namespace=self.namespace,
                label_selector=selector,
                resource_version=version,
                watch=True,
                allow_watch_bookmarks=True,
                timeout_seconds=WATCH_SECONDS,
                _preload_content=False,
                _request_timeout=(_CONNECT_SECONDS, WATCH_SECONDS + _READ_SECONDS),
            )
            try:
                for line in _lines(response):
                    yield _event(json.loads(line))
            finally:
                response.close()
                response.release_conn()
        except (ApiException, urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
            if _status(error) == _GONE:
                raise Expired from error
            raise self._explained(error, f"watch objects of the kind {kind}") from error

    def log(
        self, pod: str, container: str, *, lines: int, seconds: int | None, previous: bool = False
    ) -> str:
        """The end of a container's output, each line with its time; '' where there is none yet.

        `seconds` asks for what was written since so long; `previous` for the run before this one.
        """
        since: JSON = {} if seconds is None else {"since_seconds": seconds}
        try:
            response = self._core.read_namespaced_pod_log(
                name=pod,
                namespace=self.namespace,
                container=container,
                tail_lines=lines,
                timestamps=True,
                previous=previous,
                _preload_content=False,
                _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                **since,
            )
            return cast(bytes, response.data).decode(errors="replace")
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            if _status(error) in {400, 404}:  # not started, or gone
                return ""
            raise self._explained(error, f"read the log of the pod {pod}") from error

    def _by_kind(self) -> dict[Kind, _Calls]:
        apps = client.AppsV1Api(self._client)
        scaling = client.AutoscalingV2Api(self._client)
        custom = client.CustomObjectsApi(self._client)
        core = self._core
        kserve = {"group": "serving.kserve.io", "version": "v1beta1", "plural": "inferenceservices"}
        return {
            Kind.DEPLOYMENT: _Calls(
                apps.create_namespaced_deployment,
                apps.read_namespaced_deployment,
                apps.list_namespaced_deployment,
                apps.delete_namespaced_deployment,
                {},
            ),
            Kind.SERVICE: _Calls(
                core.create_namespaced_service,
                core.read_namespaced_service,
                core.list_namespaced_service,
                core.delete_namespaced_service,
                {},
            ),
            Kind.SECRET: _Calls(
                core.create_namespaced_secret,
                core.read_namespaced_secret,
                core.list_namespaced_secret,
                core.delete_namespaced_secret,
                {},
            ),
            Kind.POD: _Calls(
                core.create_namespaced_pod,
                core.read_namespaced_pod,
                core.list_namespaced_pod,
                core.delete_namespaced_pod,
                {},
            ),
            Kind.AUTOSCALER: _Calls(
                scaling.create_namespaced_horizontal_pod_autoscaler,
                scaling.read_namespaced_horizontal_pod_autoscaler,
                scaling.list_namespaced_horizontal_pod_autoscaler,
                scaling.delete_namespaced_horizontal_pod_autoscaler,
                {},
            ),
            Kind.INFERENCE_SERVICE: _Calls(
                custom.create_namespaced_custom_object,
                custom.get_namespaced_custom_object,
                custom.list_namespaced_custom_object,
                custom.delete_namespaced_custom_object,
                kserve,
            ),
        }

    def _json(self, answer: Any) -> JSON:
        return cast(JSON, self._client.sanitize_for_serialization(answer))

    def _explained(self, error: Exception, what: str) -> Exception:
        status, said = _status(error), _message(error)
        if status in {401, 403}:
            return NotAllowed(
                f"The cluster does not let Loggia {what}: {said}",
                remedy="Give Loggia's service account the role in docs/operating.md, or correct "
                "LOGGIA_KUBERNETES_KUBECONFIG.",
            )
        if status == 404:
            return NotAllowed(
                f"The cluster cannot {what}: {said}",
                remedy=f"Make the namespace {self.namespace}; the shape kserve needs KServe.",
            )
        if status in {400, 413, 422}:
            return Invalid(
                f"The cluster refused to {what}: {said}",
                remedy="Change what it names in the configuration, or the LOGGIA_KUBERNETES_* "
                "settings, then redeploy.",
            )
        return Unreachable(f"the cluster could not {what}: {said}")


def _connect(kubeconfig: Path | None, context: str | None) -> Any:
    settings = client.Configuration()
    # Retries are the reconciler's; a request that waits here would hide a dead API server.
    settings.retries = False
    try:
        if kubeconfig is not None:
            config.load_kube_config(
                config_file=str(kubeconfig), context=context, client_configuration=settings
            )
        else:
            config.load_incluster_config(client_configuration=settings)
    except (ConfigException, OSError) as error:
        raise Invalid(
            f"There are no usable credentials for a Kubernetes cluster: {error}",
            remedy="Name a kubeconfig file in LOGGIA_KUBERNETES_KUBECONFIG, or run the deploy "
            "worker in a pod of the cluster with a service account.",
        ) from error
    return client.ApiClient(settings)


def _lines(response: Any) -> Iterator[bytes]:
    """Complete lines of a streamed response, as soon as they come."""
    held = b""
    for piece in response.stream(amt=None, decode_content=False):
        *complete, held = (held + piece).split(b"\n")
        yield from (line for line in complete if line.strip())


def _event(event: JSON) -> tuple[str, JSON]:
    found = event["object"]
    if event["type"] == "ERROR":
        if found.get("code") == _GONE:
            raise Expired
        raise Unreachable(f"the cluster ended a watch: {found.get('message', '')}")
    return event["type"], found


def _status(error: Exception) -> int | None:
    return error.status if isinstance(error, ApiException) else None


def _message(error: Exception) -> str:
    """The API server's own words, where it has said something."""
    if isinstance(error, ApiException):
        try:
            said = json.loads(error.body or b"").get("message")
        except (ValueError, AttributeError, TypeError):
            said = None
        return str(said or error.reason or error.status)[:500]
    return str(error)[:300]
