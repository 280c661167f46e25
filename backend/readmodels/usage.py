"""Usage and what it costs: by day, model and key, and how long replicas have run."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import DictRow, tuple_row

from backend.domain import billing
from backend.domain.billing import Hardware
from backend.domain.errors import Invalid
from backend.infra.postgres import Pool
from backend.readmodels import prices
from backend.readmodels.prices import PriceHistory

MOST_DAYS = 366
MOST_ROWS = 50_000
BY = ("day", "model", "key")
_MICRO = timedelta(microseconds=1)


class UsageItem(msgspec.Struct, rename="camel", frozen=True):
    """Usage of one day, model and key, or of several where these are null.

    `kind` is `key`, `playground`, `hardware` (replicas that ran, whoever asked them), or `all`
    where keys are not told apart. `engineSeconds` are shares of the replicas' time and
    `acceleratorSeconds` of their GPUs'. Costs are decimal, and null where no price was set or
    where prices in several currencies were.
    """

    kind: str
    day: date | None
    model_id: UUID | None
    model_name: str | None
    key_id: UUID | None
    key_name: str | None
    requests: int
    failed_requests: int
    estimated_requests: int
    input_tokens: int
    output_tokens: int
    milliseconds: int
    engine_seconds: float
    accelerator_seconds: float
    replica_hours: float
    currency: str | None
    token_cost: str | None
    hardware_cost: str | None
    cost: str | None


class UsageReport(msgspec.Struct, rename="camel", frozen=True):
    """Usage from the first to the last day, in UTC.

    `missingRecords` are answers in this time of which no usage is known. `updatedAt` is when the
    last records came in.
    """

    first_day: date
    last_day: date
    items: list[UsageItem]
    total: UsageItem
    missing_records: int
    updated_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which usage. `by` are the columns that are told apart."""

    first_day: date
    last_day: date
    model_id: UUID | None = None
    key_id: UUID | None = None
    by: Collection[str] = BY

    def check(self) -> None:
        """Raises `Invalid`."""
        if not self.first_day <= self.last_day < self.first_day + timedelta(days=MOST_DAYS):
            raise Invalid(
                f"From {self.first_day} to {self.last_day} are not 1 to {MOST_DAYS} days.",
                remedy="Let it end on the day on which it begins, or up to a year later.",
                field="to",
            )

    @property
    def values(self) -> dict[str, Any]:
        """For the statements below."""
        return {
            "first": self.first_day,
            "last": self.last_day,
            "since": _midnight(self.first_day),
            "until": _midnight(self.last_day + timedelta(days=1)),
            "model": self.model_id,
            "key": str(self.key_id) if self.key_id else None,
            "by_key": "key" in self.by,
            "most": MOST_ROWS + 1,
        }


@dataclass
class _Sum:
    requests: int = 0
    failed: int = 0
    estimated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    milliseconds: int = 0
    engine_microseconds: int = 0
    accelerator_microseconds: int = 0
    replica_microseconds: int = 0
    # By currency.
    token_cost: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    hardware_cost: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))


# Day, model, key; kind.
_Place = tuple[date | None, UUID | None, str | None, str]


class _Bill:
    """Adds usage and time up, by what is wanted."""

    def __init__(self, wanted: Wanted, history: PriceHistory) -> None:
        self._by = wanted.by
        self._history = history
        self.sums: dict[_Place, _Sum] = defaultdict(_Sum)
        self.total = _Sum()

    def add_answers(self, row: DictRow) -> None:
        """Sums of one day, model and key."""
        prices = self._history.on(row["day"])
        cost = billing.of_tokens(
            prices, str(row["model_id"]), row["input_tokens"], row["output_tokens"]
        )
        kind = "key" if row["key_id"] else "playground"
        for sums in (self._place(row["day"], row["model_id"], row["key_id"], kind), self.total):
            for name in (
                "requests", "failed", "estimated", "input_tokens", "output_tokens",
                "milliseconds", "engine_microseconds", "accelerator_microseconds",
            ):  # fmt: skip
                setattr(sums, name, getattr(sums, name) + row[name])
            if prices is not None and cost is not None:
                sums.token_cost[prices.currency] += cost

    def add_time(self, row: DictRow, day: date, microseconds: int) -> None:
        """A replica's time within one day."""
        prices = self._history.on(day)
        hardware = Hardware(row["accelerator"], row["accelerator_count"], tuple(row["kinds"]))
        cost = billing.of_time(prices, hardware, microseconds)
        for sums in (self._place(day, row["model_id"], None, "hardware"), self.total):
            sums.replica_microseconds += microseconds
            if prices is not None and cost is not None:
                sums.hardware_cost[prices.currency] += cost

    def _place(self, day: date, model_id: UUID, key_id: str | None, kind: str) -> _Sum:
        by = self._by
        return self.sums[
            (
                day if "day" in by else None,
                model_id if "model" in by else None,
                key_id if "key" in by else None,
                kind if "key" in by else "all",
            )
        ]


def report(pool: Pool, wanted: Wanted) -> UsageReport:
    """What was used and what it costs; replicas that run count up to now. Raises `Invalid`."""
    wanted.check()
    bill = _Bill(wanted, prices.history(pool))
    with pool.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for row in _answers(connection, wanted):
            bill.add_answers(row)
        if wanted.key_id is None:
            for row in _replicas(connection, wanted):
                for day, microseconds in _days(row["ready_at"], row["ended_at"], wanted):
                    bill.add_time(row, day, microseconds)
        models, keys = _names(connection, bill.sums)
        missing, updated_at = _state(connection, wanted)
    places = sorted(bill.sums, key=lambda place: [str(part or "") for part in place])
    return UsageReport(
        first_day=wanted.first_day,
        last_day=wanted.last_day,
        items=[_item(place, bill.sums[place], models, keys) for place in places],
        total=_item((None, None, None, "all"), bill.total, {}, {}),
        missing_records=missing,
        updated_at=updated_at,
    )


def _state(connection: Connection[DictRow], wanted: Wanted) -> tuple[int, datetime]:
    """How many records of these days are missing, and when the last ones came in."""
    ((missing, updated_at),) = connection.cursor(row_factory=tuple_row).execute(
        "SELECT (SELECT COALESCE(sum(lost + (SELECT COALESCE(sum("
        "(part->>1)::bigint - (part->>0)::bigint + 1), 0) "
        "FROM jsonb_array_elements(missing) AS part)), 0)::bigint FROM loggia.usage_sources "
        "WHERE last_at >= %(since)s AND first_at < %(until)s), updated_at "
        "FROM loggia.usage_progress",
        wanted.values,
    )
    return missing, updated_at


def _answers(connection: Connection[DictRow], wanted: Wanted) -> list[DictRow]:
    """Sums of days and models, which have their prices; of keys only where these are told apart."""
    rows = connection.execute(
        "SELECT day, model_id, CASE WHEN %(by_key)s::boolean THEN key_id ELSE '' END AS key_id, "
        "sum(requests)::bigint AS requests, sum(failed)::bigint AS failed, "
        "sum(estimated)::bigint AS estimated, sum(input_tokens)::bigint AS input_tokens, "
        "sum(output_tokens)::bigint AS output_tokens, sum(milliseconds)::bigint AS milliseconds, "
        "sum(engine_microseconds)::bigint AS engine_microseconds, "
        "sum(accelerator_microseconds)::bigint AS accelerator_microseconds "
        "FROM loggia.usage_days WHERE day >= %(first)s AND day <= %(last)s "
        "AND (%(model)s::uuid IS NULL OR model_id = %(model)s) "
        "AND (%(key)s::text IS NULL OR key_id = %(key)s) GROUP BY 1, 2, 3 LIMIT %(most)s",
        wanted.values,
    ).fetchall()
    return _bounded(rows)


def _replicas(connection: Connection[DictRow], wanted: Wanted) -> list[DictRow]:
    """Replicas that answered within these days, and since when until when."""
    rows = connection.execute(
        "SELECT model_id, accelerator, accelerator_count, kinds, ready_at, ended_at "
        "FROM billing.ended "
        "WHERE ended_at >= %(since)s AND ready_at < %(until)s "
        "AND (%(model)s::uuid IS NULL OR model_id = %(model)s) UNION ALL "
        "SELECT model_id, accelerator, accelerator_count, kinds, ready_at, now() "
        "FROM billing.running "
        "WHERE ready_at < %(until)s AND ready_at < now() "
        "AND (%(model)s::uuid IS NULL OR model_id = %(model)s) LIMIT %(most)s",
        wanted.values,
    ).fetchall()
    return _bounded(rows)


def _bounded(rows: list[DictRow]) -> list[DictRow]:
    if len(rows) > MOST_ROWS:
        raise Invalid(
            "There is more usage in these days than one answer holds.",
            remedy="Ask for fewer days, or for one model.",
            field="from",
        )
    return rows


def _days(since: datetime, until: datetime, wanted: Wanted) -> Iterator[tuple[date, int]]:
    """Each wanted day of a stretch of time, and how many microseconds of it lie within."""
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    day = max(since.date(), wanted.first_day)
    while day <= min(until.date(), wanted.last_day):
        behind = _midnight(day + timedelta(days=1))
        within = min(until, behind) - max(since, _midnight(day))
        if within > timedelta(0):
            yield day, within // _MICRO
        day += timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _names(
    connection: Connection[DictRow], places: Collection[_Place]
) -> tuple[dict[UUID, str], dict[str, str]]:
    """The names of the models and keys; those that are gone have none."""
    models = connection.execute(
        "SELECT model_id, name FROM gallery.models WHERE model_id = ANY(%s)",
        ([place[1] for place in places if place[1]],),
    ).fetchall()
    keys = connection.execute(
        "SELECT key_id, name FROM deployments.api_keys WHERE key_id = ANY(%s::uuid[])",
        ([place[2] for place in places if place[2]],),
    ).fetchall()
    return (
        {row["model_id"]: row["name"] for row in models},
        {str(row["key_id"]): row["name"] for row in keys},
    )


def _item(place: _Place, sums: _Sum, models: dict[UUID, str], keys: dict[str, str]) -> UsageItem:
    day, model_id, key_id, kind = place
    currencies = {*sums.token_cost, *sums.hardware_cost}
    currency = next(iter(currencies)) if len(currencies) == 1 else None
    tokens = sums.token_cost.get(currency) if currency else None
    hardware = sums.hardware_cost.get(currency) if currency else None
    return UsageItem(
        kind=kind,
        day=day,
        model_id=model_id,
        model_name=models.get(model_id) if model_id else None,
        key_id=UUID(key_id) if key_id else None,
        key_name=keys.get(key_id) if key_id else None,
        requests=sums.requests,
        failed_requests=sums.failed,
        estimated_requests=sums.estimated,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        milliseconds=sums.milliseconds,
        engine_seconds=sums.engine_microseconds / 1e6,
        accelerator_seconds=sums.accelerator_microseconds / 1e6,
        replica_hours=sums.replica_microseconds / billing.MICROSECONDS_PER_HOUR,
        currency=currency,
        token_cost=billing.shown(tokens),
        hardware_cost=billing.shown(hardware),
        cost=billing.shown(billing.total([tokens, hardware])),
    )


def as_csv(usage: UsageReport) -> str:
    """The report's items, a line each, with a heading."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\r\n")
    names = [field.encode_name for field in msgspec.structs.fields(UsageItem)]
    lines.writerow(names)
    for item in usage.items:
        document = msgspec.to_builtins(item)
        lines.writerow([_cell(document[name]) for name in names])
    return written.getvalue()


def _cell(value: Any) -> Any:
    """Names are anybody's text: none of them may be a formula where the file is opened."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value
