"""The validation report: what was checked, what came out, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

_MAX_TEXT = 2000


def plain(text: str, most: int = _MAX_TEXT) -> str:
    """The text, shortened, without NUL and lone surrogates, which databases refuse."""
    return text[:most].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Outcome(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 (no password)
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `hint` says what to do and is empty where nothing is to be done."""

    id: str
    title: str
    outcome: Outcome
    evidence: str
    hint: str = ""


@dataclass
class Report:
    """Collects checks in the order in which a person reads them."""

    checks: list[Check] = field(default_factory=list)
    on_check: Callable[[Check], None] | None = None

    def add(self, id: str, title: str, outcome: Outcome, evidence: str, hint: str = "") -> None:
        """Adds a line."""
        check = Check(id, title, outcome, plain(evidence), plain(hint))
        self.checks.append(check)
        if self.on_check is not None:
            self.on_check(check)

    @property
    def failures(self) -> list[Check]:
        """The checks that speak against the model."""
        return [check for check in self.checks if check.outcome is Outcome.FAIL]

    def to_dict(self) -> dict[str, Any]:
        """The report as it stands in events."""
        return {"checks": [{**asdict(c), "outcome": c.outcome.value} for c in self.checks]}
