"""What has had its time is removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

from backend.application.commands import CommandContext
from backend.application.group_commit import REMEMBERED_DAYS
from backend.domain.model import ImportRequest
from backend.infra.dead_letters import RESOLVED_KEPT_DAYS
from tests.builders.models import tiny_llama, write_archive
from tests.importing.workplace import Site
from workers.importing.sweep import sweep


def test_an_expired_upload_fails_its_import_and_is_removed(site: Site, tmp_path: Path) -> None:
    model_id = site.request(write_archive(tmp_path / "m.zip", tiny_llama()), complete=False)
    with site.pool.connection() as connection:
        connection.execute("UPDATE loggia.uploads SET completed_at = NULL, expires_at = now()")
    sweep(site.place)
    failure = site.last_event(model_id)
    assert (failure.step, failure.remedy) == (
        "upload",
        "Delete this model and upload the file again.",
    )
    assert "The upload expired" in failure.reason
    assert site.residue() == {}
    upload_id = site.model(model_id).latest.upload_id
    assert upload_id is not None
    assert site.uploads.get(upload_id) is None


def test_an_archive_is_kept_while_its_import_waits_and_not_after_its_time(
    site: Site, tmp_path: Path
) -> None:
    waiting = site.submit(write_archive(tmp_path / "waiting.zip", tiny_llama()))
    failed = site.submit(write_archive(tmp_path / "failed.zip", {"a.txt": b"no model"}))
    with site.pool.connection() as connection:
        connection.execute("UPDATE loggia.jobs SET state = 'done' WHERE model_id = %s", (waiting,))
        site.run_all()
        connection.execute("UPDATE loggia.uploads SET expires_at = now()")
    sweep(site.place)
    kept = {path.split("/")[1] for path in site.objects("uploads")}
    assert kept == {str(site.model(waiting).latest.upload_id)}
    site.retry(failed)
    site.run_one()
    assert site.last_event(failed).reason == "The uploaded archive is no longer stored."


def test_a_command_is_remembered_for_its_time_and_then_decided_anew(site: Site) -> None:
    origin = {"path": {"path": "/models/tiny", "mode": "copy", "template": None}}
    for name in ("old", "young"):
        context = CommandContext("user:admin", idempotency_key=name)
        request = ImportRequest(source="path", origin=origin, name=name)
        model_id = site.models.request_import(context, request).id
    with site.pool.connection() as connection:
        for name, days in (("old", REMEMBERED_DAYS + 1), ("young", REMEMBERED_DAYS - 1)):
            connection.execute(
                "UPDATE loggia.commands SET at = now() - make_interval(days => %s) "
                "WHERE idempotency_key = %s",
                (days, name),
            )
    sweep(site.place)
    young = CommandContext("user:admin", idempotency_key="young")
    assert site.models.update_template(young, model_id, template="PARAMETER top_k 1\n").repeated
    with site.pool.connection() as connection:
        rows = connection.execute("SELECT idempotency_key FROM loggia.commands").fetchall()
    assert [row["idempotency_key"] for row in rows] == ["young"]


def test_dead_letters_that_were_applied_are_forgotten_and_the_others_never(site: Site) -> None:
    letters = {"open": None, "old": RESOLVED_KEPT_DAYS + 1, "young": RESOLVED_KEPT_DAYS - 1}
    with site.pool.connection() as connection:
        for key, days in letters.items():
            connection.execute(
                "INSERT INTO loggia.dead_letters (consumer, partition, record_offset, "
                "partition_key, error, headers, parked_at, resolved_at) VALUES ('gallery', 0, 1, "
                "%s, 'no row', '[]', now() - interval '1 year', "
                "now() - make_interval(days => %s::int))",
                (key, days),
            )
    sweep(site.place)
    with site.pool.connection() as connection:
        rows = connection.execute("SELECT partition_key FROM loggia.dead_letters").fetchall()
    assert {row["partition_key"] for row in rows} == {"open", "young"}
