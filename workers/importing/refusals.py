"""Why an import is refused, in words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ImportRefused(Exception):
    """The import cannot go on. `code` is stable; `reason` names the part; `remedy` says what to do.

    `report` is the validation report where the refusal came from validation.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        remedy: str,
        *,
        step: str = "extract",
        report: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.remedy = remedy
        self.step = step
        self.report = dict(report) if report is not None else None
