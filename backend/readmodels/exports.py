"""What an export of a model version consists of."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.domain.configuration_document import FILE_NAME, text_of
from backend.domain.errors import NotAllowed, NotFound
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.readmodels import deploy_options, manifests
from backend.readmodels.configuration import to_domain
from backend.readmodels.manifests import ManifestEntry


@dataclass(frozen=True)
class Export:
    """A version's files, and the text of the configuration that goes with them."""

    name: str
    version: str
    files: list[ManifestEntry]
    configuration: bytes


def of(pool: Pool, object_store: ObjectStore, model_id: UUID, version: str | None) -> Export:
    """The export of a version, of the current one where none is named.

    The configuration is that of the latest revision; of a model that was never deployed, the one
    that the deploy wizard would begin with. Raises `NotFound`, and `NotAllowed` where the version
    has no files.
    """
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT m.name, v.version, v.state, v.manifest_sha256, ("
            "SELECT configuration FROM deployments.revisions AS r "
            "WHERE r.model_id = m.model_id ORDER BY revision DESC LIMIT 1) AS configuration "
            "FROM gallery.models AS m JOIN gallery.versions AS v USING (model_id) "
            "WHERE m.model_id = %s AND v.version = COALESCE(%s, m.model_version)",
            (model_id, version),
        ).fetchone()
    if row is None:
        raise NotFound(
            f"There is no model {model_id}."
            if version is None
            else f"There is no version {version[:64]} of a model {model_id}.",
            remedy="Check the id, or reload the list.",
        )
    if row["state"] != "ready_to_deploy" or row["manifest_sha256"] is None:
        raise NotAllowed(
            f"Version {row['version']} of '{row['name']}' has no files that could be exported.",
            remedy="Choose a version that was imported with files and is ready to deploy.",
        )
    return Export(
        name=row["name"],
        version=row["version"],
        files=[
            file
            for file in manifests.entries(object_store, row["manifest_sha256"])
            if file.path != FILE_NAME
        ],
        configuration=text_of(
            row["configuration"] or to_domain(deploy_options.of(pool, model_id).defaults)
        ).encode(),
    )
