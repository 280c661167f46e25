"""A gallery as large as a goal says, and models to edit in it."""

from __future__ import annotations

from uuid import uuid4

import psycopg

from backend.application.commands import CommandContext, CommandRunner
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.model import ImportRequest
from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads
from projections.applying import Applier
from projections.gallery import GALLERY


def make_models(settings: Settings, count: int) -> list[str]:
    """Models to edit; streams stay as short as real ones."""
    with open_pool(settings) as pool:
        store = EventStore(settings)
        models, uploads = Models(CommandRunner(store, settings.secret_key)), Uploads(pool)
        ids = []
        for number in range(count):
            upload = uploads.create(
                uuid4(), owner="user:x", file_name=f"m{number}.zip", size_bytes=1, expiry_hours=1
            )
            accepted = models.request_import(
                CommandContext(actor="user:x"),
                ImportRequest(file_name=upload.file_name, upload_id=upload.id, size_bytes=1),
                complete=True,
            )
            ids.append(str(accepted.id))
        store.close()
    return ids


def fill_gallery(settings: Settings, models: int) -> None:
    """A gallery as large as the goal says, written as rows."""
    with psycopg.connect(settings.dsn, autocommit=True) as connection:
        with connection.transaction(), connection.cursor() as cursor:
            applier = Applier(GALLERY)
            applier.create_tables(cursor)  # type: ignore[arg-type]
            applier.create_indexes(cursor)  # type: ignore[arg-type]
        connection.execute(
            "INSERT INTO gallery.models (model_id, version, name, name_key, technical_name, kind, "
            "source, model_version, latest_version, latest_state, template, retriable, state, "
            "publication, deployment_state, description, labels, facets, "
            "documentation_links, pending_changes, size_bytes, architecture, parameter_count, "
            "created_position, created_at, updated_at, position) "
            "SELECT gen_random_uuid(), 3, name, name, name, (array['base','adapter'])[1 + i %% 2], "
            "'upload', '0.0.1', '0.0.1', 'ready_to_deploy', '', true, "
            "(array['ready_to_deploy','import_failed','importing','validating'])[1 + i %% 4], "
            "(array['published','withdrawn','unpublished'])[1 + i %% 3], "
            "(array[NULL,'deployed','failed','stopped'])[1 + i %% 4], repeat('d', 100), "
            "array['t' || i %% 50, 'l' || i %% 7], '', '{}', false, i * 1000, "
            "'LlamaForCausalLM', i, i, now(), now(), i FROM ("
            "SELECT i, 'model-' || md5(i::text) || '-' || (i %% 70) || 'b' AS name "
            "FROM generate_series(1, %s) AS i) AS made",
            (models,),
        )
        connection.execute(
            "UPDATE gallery.models SET facets = json_build_array("
            "state, kind, publication, deployment_state, labels)::text"
        )
        connection.execute(
            "INSERT INTO loggia.consumer_watermark (consumer, position, ahead) "
            "VALUES ('gallery', 1, '{}')"
        )
        connection.execute("VACUUM FULL gallery.models")
        connection.execute(
            "INSERT INTO loggia.model_names (name_key, model_id) "
            "SELECT name_key, model_id FROM gallery.models"
        )
        connection.execute("VACUUM ANALYZE gallery.models, loggia.model_names")
