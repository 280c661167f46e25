"""Which role may do what. An operation that has no rule here is refused to everybody."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.domain.user import Role

_EVERYBODY = frozenset(Role)
_ADMINISTRATORS = frozenset({Role.ADMIN})
_OPERATORS = frozenset({Role.ADMIN, Role.OPERATOR})
_INSPECTORS = _OPERATORS | {Role.AUDITOR}
_CALLERS = _OPERATORS | {Role.INTEGRATOR}

# Consent comes with an import or a retry; it is not an operation of its own.
_MAY_ACCEPT_RISKS = _ADMINISTRATORS

# Where handlers of the framework itself carry their name.
OPERATION = "operation"

# Open to people who have not signed in.
PUBLIC = frozenset(
    {"signIn", "readHealth", "readReadiness", "readSchema", "readConfigurationSchema"}
)

RULES: dict[str, frozenset[Role]] = {
    # One's own account
    "readSession": _EVERYBODY,
    "signOut": _EVERYBODY,
    "changePassword": _EVERYBODY,
    "listTokens": _EVERYBODY,
    "createToken": _EVERYBODY,
    "revokeToken": _EVERYBODY,
    # Other people's accounts
    "listUsers": _ADMINISTRATORS | {Role.AUDITOR},
    "registerUser": _ADMINISTRATORS,
    "changeUserRole": _ADMINISTRATORS,
    # Models
    "listModels": _EVERYBODY,
    "readModel": _EVERYBODY,
    "listModelFiles": _EVERYBODY,
    "editModel": _OPERATORS,
    "deleteModel": _OPERATORS,
    "setPublication": _OPERATORS,
    "retryImport": _OPERATORS,
    "cancelImport": _OPERATORS,
    "importModel": _OPERATORS,
    "previewImports": _OPERATORS,
    "inspectSource": _OPERATORS,
    "importBatch": _OPERATORS,
    "readBatch": _EVERYBODY,
    "retryBatch": _OPERATORS,
    "readDryRun": _OPERATORS,
    "exportModel": _OPERATORS,
    "listVersions": _EVERYBODY,
    "compareVersions": _EVERYBODY,
    "selectVersion": _OPERATORS,
    "updateTemplate": _OPERATORS,
    # Other systems; their names can be chosen in an import
    "listConnections": _INSPECTORS,
    "saveConnection": _ADMINISTRATORS,
    "testConnection": _ADMINISTRATORS,
    "removeConnection": _ADMINISTRATORS,
    "readUploadOptions": _OPERATORS,
    "createUpload": _OPERATORS,
    "readUpload": _OPERATORS,
    "appendUpload": _OPERATORS,
    "terminateUpload": _OPERATORS,
    # Deployments
    "readDeployment": _EVERYBODY,
    "readDeploymentHistory": _EVERYBODY,
    "readDeploymentLogs": _INSPECTORS,
    "readDeployOptions": _EVERYBODY,
    "readEngineOptions": _EVERYBODY,
    "listAdapters": _EVERYBODY,
    "loadAdapter": _OPERATORS,
    "unloadAdapter": _OPERATORS,
    "deployModel": _OPERATORS,
    "stopDeployment": _OPERATORS,
    "startDeployment": _OPERATORS,
    "rollBackDeployment": _OPERATORS,
    # Keys and the playground
    "listApiKeys": _OPERATORS | {Role.AUDITOR, Role.INTEGRATOR},
    "createApiKey": _CALLERS,
    "revokeApiKey": _CALLERS,
    "createPlaygroundToken": _CALLERS,
    # What is on offer, and what happened
    "listMarketplace": _EVERYBODY,
    "listEvents": _EVERYBODY,
    "streamEvents": _EVERYBODY,
    "listNotifications": _EVERYBODY,
    # How the platform is
    "listParked": _INSPECTORS,
    "readMetrics": _OPERATORS | {Role.AUDITOR, Role.INTEGRATOR},
}

# The operation behind each action that a model's page offers.
ACTIONS = {
    "deploy": "deployModel",
    "redeploy": "deployModel",
    "stop": "stopDeployment",
    "publish": "setPublication",
    "withdraw": "setPublication",
    "retry": "retryImport",
    "cancel": "cancelImport",
    "edit": "editModel",
    "delete": "deleteModel",
}


def may(role: Role, operation: str) -> bool:
    """Whether the role may do this."""
    return role in RULES.get(operation, frozenset())


def may_act(role: Role, action: str) -> bool:
    """Whether the role may take this action of a model's page."""
    return may(role, ACTIONS[action])


def check_consent(role: Role, consent: object | None) -> None:
    """Consent to what policy blocks is an administrator's alone. Raises `ApiError` 403."""
    if consent is None or role in _MAY_ACCEPT_RISKS:
        return
    raise ApiError(
        403,
        "consent-forbidden",
        f"Your role, {role.value}, may not accept the risks of pickles or custom code.",
        remedy="Ask an administrator to import it, or to retry the failed import with consent.",
        field="acceptedRisks",
    )


def operation_of(handler: BaseRouteHandler) -> str:
    """The name under which a handler has its rule."""
    return str(getattr(handler, "operation_id", None) or handler.opt.get(OPERATION, ""))


async def authorise(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """The guard of every route. Raises 401 for strangers and 403 for the wrong role.

    A coroutine, because the framework would run a function in a thread.
    """
    operation = operation_of(handler)
    if operation in PUBLIC:
        return
    identity: Identity | None = connection.scope.get("user")
    if identity is None:
        raise NotAuthorizedException("You are not signed in")
    if not may(identity.role, operation):
        allowed = sorted(role.value for role in RULES.get(operation, frozenset()))
        raise ApiError(
            403,
            "forbidden",
            f"Your role, {identity.role.value}, may not do this.",
            remedy=f"Ask an administrator for one of these roles: {', '.join(allowed)}.",
        )
