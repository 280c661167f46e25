"""What the framework cannot know about the API: the form of errors, and the headers of commands."""

from __future__ import annotations

from threading import Lock

from anyio import to_thread
from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.openapi.spec import (
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)

from backend.api.commands import MAX_KEY_LENGTH
from backend.api.problems import MEDIA_TYPE

_making = Lock()
_TEXT = Schema(type=OpenAPIType.STRING)
_PROBLEM = Schema(
    title="Problem",
    description="An answer that says no (RFC 9457).",
    type=OpenAPIType.OBJECT,
    required=["type", "title", "status", "detail", "remedy"],
    properties={
        "type": _TEXT,
        "title": _TEXT,
        "status": Schema(type=OpenAPIType.INTEGER),
        "detail": Schema(type=OpenAPIType.STRING, description="What is wrong."),
        "remedy": Schema(type=OpenAPIType.STRING, description="What to do about it."),
        "errors": Schema(
            type=OpenAPIType.ARRAY,
            items=Schema(
                type=OpenAPIType.OBJECT,
                required=["field", "message"],
                properties={"field": _TEXT, "message": _TEXT},
            ),
        ),
        "current": Schema(
            type=OpenAPIType.OBJECT,
            description="The state now, where another change came first (409).",
        ),
        "correlationId": _TEXT,
    },
)
_HEADERS = {
    "Idempotency-Key": Schema(
        type=OpenAPIType.STRING,
        max_length=MAX_KEY_LENGTH,
        description="A command repeated under its key answers as the first did.",
    ),
    "If-Match": Schema(
        type=OpenAPIType.STRING,
        description="The version that you saw, in quotes; 409 where it is another by now.",
    ),
}


def description(api: Litestar) -> OpenAPI:
    """The application's OpenAPI document, whole. It is made the first time: it takes a while."""
    with _making:
        document = api.openapi_schema
        schemas = document.components.schemas = document.components.schemas or {}
        if "Problem" not in schemas:
            schemas["Problem"] = _PROBLEM
            _complete_operations(api, document)
    return document


async def describe(request: Request[object, object, State]) -> None:
    """Makes the document before it is sent, off the event loop."""
    await to_thread.run_sync(description, request.app)


def _complete_operations(api: Litestar, document: OpenAPI) -> None:
    commands = _commands(api)
    for path in (document.paths or {}).values():
        for operation in (
            path.get, path.put, path.post, path.patch, path.delete, path.head, path.options
        ):  # fmt: skip
            if operation is not None:
                _complete(operation, is_command=operation.operation_id in commands)


def _commands(api: Litestar) -> set[str]:
    """The operations that take a command's context."""
    return {
        str(handler.operation_id)
        for route in api.routes
        for handler in getattr(route, "route_handlers", [])
        if "context" in handler.parsed_fn_signature.parameters
    }


def _complete(operation: Operation, *, is_command: bool) -> None:
    responses = operation.responses if operation.responses is not None else {}
    responses.pop("400", None)  # the framework's own form of errors, which is never sent
    responses["default"] = OpenAPIResponse(
        description="A refusal or a failure.",
        content={MEDIA_TYPE: OpenAPIMediaType(Reference(ref="#/components/schemas/Problem"))},
    )
    if isinstance(nothing := responses.get("204"), OpenAPIResponse):
        nothing.content = None
    if "text/event-stream" in str(responses):
        responses["200"] = OpenAPIResponse(
            description="Server-sent events.",
            content={"text/event-stream": OpenAPIMediaType(_TEXT)},
        )
    operation.responses = responses
    if isinstance(body := operation.request_body, RequestBody):
        body.required = not any(_may_be_null(media.schema) for media in body.content.values())
    if is_command:
        operation.parameters = [
            *(operation.parameters or []),
            *(
                Parameter(name=name, param_in="header", required=False, schema=schema)
                for name, schema in _HEADERS.items()
            ),
        ]


def _may_be_null(schema: Schema | Reference | None) -> bool:
    """Whether a body may be left out."""
    choices = schema.one_of or [] if isinstance(schema, Schema) else []
    return any(isinstance(each, Schema) and each.type == OpenAPIType.NULL for each in choices)
