"""How every command runs: once for each idempotency key, and never over somebody else's change.

Commands that arrive together are decided one after the other and written in one transaction.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from cryptography.fernet import Fernet

from backend.application.group_commit import (
    CarriedOut,
    Change,
    Key,
    Outcome,
    Outdated,
    Refused,
    Repeated,
    Written,
)
from backend.application.loaded import DecideAgain, Loaded
from backend.application.store import EventStore, InTransaction, StoreUnavailable, loading_from
from backend.application.together import Together
from backend.domain.errors import Conflict, DomainError, IdempotencyKeyReused, Invalid
from backend.domain.events import Aggregate, Cause, caused_by

_ATTEMPTS = 50
_MOST_TOGETHER = 64
# JSON's way to write a character that PostgreSQL's texts, and so the projections', cannot have.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MOST_LOADED = 1000


@dataclass(frozen=True)
class CommandContext:
    """Who asks, in which chain of causes, and under which conditions.

    `fingerprint` tells one request from another under the same idempotency key;
    `expected_version` is the version of the aggregate that the caller has seen.
    """

    actor: str
    correlation_id: UUID = field(default_factory=uuid4)
    causation_id: UUID | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    expected_version: int | None = None

    @property
    def cause(self) -> Cause:
        """What the events will say."""
        return Cause(self.actor, self.correlation_id, self.causation_id)

    @property
    def key(self) -> Key | None:
        """The idempotency key together with whose it is."""
        return None if self.idempotency_key is None else (self.actor, self.idempotency_key)

    def keyed(self, key: str) -> CommandContext:
        """The same, under an idempotency key."""
        return replace(self, idempotency_key=key)


@dataclass(frozen=True)
class Accepted:
    """A command's answer: the aggregate, its version, and the position to wait for.

    `secret` is shown once and is in no event; `repeated` says that nothing was written, because
    the command had been carried out before.
    """

    id: UUID
    version: int
    position: int
    result: dict[str, Any] = field(default_factory=dict)
    secret: str | None = None
    repeated: bool = False


@dataclass
class Decision:
    """What a command wants written: events of aggregates, and statements that go with them.

    The first aggregate is the one that the command is about, unless `about` names another one.
    """

    aggregates: Sequence[Aggregate]
    within: list[InTransaction] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    secret: str | None = None
    about: Aggregate | None = None

    @property
    def subject(self) -> Aggregate:
        """What the answer is about; the first of the aggregates unless said otherwise."""
        return self.about or self.aggregates[0]


@dataclass(eq=False)
class _Command:
    """A command on its way, and what became of it."""

    context: CommandContext
    decide: Callable[[], Decision]
    attempts: int = 0
    accepted: Accepted | None = None
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        return self.accepted is not None or self.error is not None


@dataclass(frozen=True)
class _Decided:
    """What a command comes to, unless what it relied on has changed: a decision or a refusal."""

    command: _Command
    change: Change
    decision: Decision | None = None
    refusal: DomainError | None = None


class CommandRunner:
    """Runs decisions against the store. Safe for many threads."""

    def __init__(self, store: EventStore, secret_key: bytes) -> None:
        self.store = store
        self._seal = Fernet(_fernet_key(secret_key))
        self._loaded = Loaded(store.stored, most=_MOST_LOADED)
        self._together = Together(self._carry_out, most=_MOST_TOGETHER)

    def run(self, context: CommandContext, decide: Callable[[], Decision]) -> Accepted:
        """Decides and writes, at most once for the context's idempotency key.

        `decide` loads what it needs and triggers events; it runs again when anything that it has
        loaded was changed by others. It may run in another command's thread, and must not wait.
        Raises `Conflict`, `IdempotencyKeyReused`, `StoreUnavailable`, and what `decide` raises.
        """
        command = _Command(context, decide)
        self._together.run(command)
        if command.accepted is None:
            raise command.error or RuntimeError("A command came to no end.")
        return command.accepted

    def _carry_out(self, commands: list[_Command]) -> None:
        while commands:
            decided = self._decide_all(commands)
            try:
                outcomes = self.store.group_commit.write([each.change for each in decided])
            except StoreUnavailable as error:
                for command in commands:
                    if not command.ended:
                        command.error = StoreUnavailable(*error.args)
                return
            for each, outcome in zip(decided, outcomes, strict=True):
                self._conclude(each, outcome)
            commands = [command for command in commands if not command.ended]

    def _decide_all(self, commands: Sequence[_Command]) -> list[_Decided]:
        self._loaded.begin_group()
        keys: set[Key] = set()
        decided: list[_Decided] = []
        for command in commands:
            key = command.context.key
            if key is not None and key in keys:
                continue  # the other one has to be written first
            each = self._decide(command)
            if each is not None:
                decided.append(each)
                if key is not None:
                    keys.add(key)
        return decided

    def _decide(self, command: _Command) -> _Decided | None:
        """None where it failed for good, or has to be decided again after the group."""
        context = command.context
        with self._loaded.decision(), loading_from(self._loaded.find):
            try:
                with caused_by(context.cause):
                    decision = command.decide()
                self._require_expected_version(context, decision.subject)
            except DecideAgain:
                return None
            except DomainError as refusal:
                change = Change(self._loaded.versions(), context.key)
                return _Decided(command, change, refusal=refusal)
            except Exception as error:
                command.error = error
                return None
            changed = [each for each in decision.aggregates if each.pending_events]
            relied_on = self._loaded.versions(decision.aggregates)
        to_stored = self.store.mapper.to_stored_event
        events = [to_stored(e) for each in changed for e in each.collect_events()]
        if any(_NUL.search(event.state) for event in events):
            command.error = Invalid(
                "A text has the character NUL in it.", remedy="Remove the character U+0000."
            )
            return None
        self._loaded.reserve(changed)
        return _Decided(
            command,
            Change(
                relied_on=relied_on,
                key=context.key,
                events=events,
                within=decision.within,
                carried_out=self._carried_out(context, decision),
            ),
            decision,
        )

    def _require_expected_version(self, context: CommandContext, subject: Aggregate) -> None:
        before = subject.version - len(subject.pending_events)
        if context.expected_version in (None, before):
            return
        current = self._loaded.find_again(subject.id)
        version = current.version if current else 0
        if version == context.expected_version:
            raise DecideAgain  # the one kept in memory was out of date
        raise Conflict(
            f"This was changed since you saw it: you saw version {context.expected_version}, "
            f"it is at version {version} now.",
            remedy="Look at the current state and decide again.",
            current=current.state_for_caller if current else {"version": version},
        )

    def _carried_out(self, context: CommandContext, decision: Decision) -> CarriedOut | None:
        if context.key is None:
            return None
        secret, subject = decision.secret, decision.subject
        return CarriedOut(
            key=context.key,
            fingerprint=context.fingerprint,
            aggregate_id=subject.id,
            aggregate_version=subject.version,
            result=decision.result,
            sealed=self._seal.encrypt(secret.encode()).decode() if secret is not None else None,
        )

    def _conclude(self, decided: _Decided, outcome: Outcome) -> None:
        command = decided.command
        match outcome:
            case Refused(error):
                command.error = error
            case Repeated():
                self._repeat(command, outcome)
            case Outdated(aggregate_ids):
                self._loaded.forget(aggregate_ids)
                command.attempts += 1
                if command.attempts == _ATTEMPTS:
                    command.error = Conflict(
                        "Too many commands changed this at the same time.",
                        remedy="Try again in a moment.",
                        current={},
                    )
            case Written() if decided.decision is None:
                command.error = decided.refusal
            case Written():
                command.accepted = self._accept(decided.decision, outcome)

    def _accept(self, decision: Decision, written: Written) -> Accepted:
        self._loaded.keep(decision.aggregates)
        subject = decision.subject
        return Accepted(
            id=subject.id,
            version=subject.version,
            position=written.last_position or written.positions.get(subject.id, 0),
            result=decision.result,
            secret=decision.secret,
        )

    def _repeat(self, command: _Command, repeated: Repeated) -> None:
        earlier = repeated.earlier
        if earlier.fingerprint != command.context.fingerprint:
            command.error = IdempotencyKeyReused(
                "This Idempotency-Key was used for another request before.",
                remedy="Make a new key for each command; repeat a key only to repeat the command.",
            )
            return
        command.accepted = Accepted(
            id=earlier.aggregate_id,
            version=earlier.aggregate_version,
            position=repeated.position,
            result=earlier.result,
            secret=self._seal.decrypt(earlier.sealed).decode() if earlier.sealed else None,
            repeated=True,
        )


def _fernet_key(secret_key: bytes) -> bytes:
    return urlsafe_b64encode(hashlib.sha256(b"sealed results\0" + secret_key).digest())
