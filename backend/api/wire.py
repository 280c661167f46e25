"""The form of requests: JSON in camelCase, unknown fields refused."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar.params import QueryParameter


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The base of every request body."""


AtLeast = Annotated[
    int | None,
    QueryParameter(
        name="atLeast",
        ge=0,
        description="Answer only once everything up to this position is included; "
        "503 with Retry-After where that takes more than five seconds.",
    ),
]
Cursor = Annotated[
    str | None,
    QueryParameter(name="cursor", max_length=1000, description="`nextCursor` of the last page."),
]
Limit = Annotated[
    int, QueryParameter(name="limit", ge=1, le=200, description="Most items of one page.")
]
Search = Annotated[
    str, QueryParameter(name="search", max_length=100, description="Part of the name.")
]
ModelStates = Annotated[list[str] | None, QueryParameter(name="state")]
DeploymentStates = Annotated[
    list[str] | None,
    QueryParameter(
        name="deploymentState", description="`none` stands for models that were never deployed."
    ),
]
