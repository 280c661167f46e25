"""How much the models' files take in the object store."""

from __future__ import annotations

from backend.infra.postgres import Pool

# The kind of a job that stores files; its journal says which.
IMPORT = "import"


def stored_bytes(pool: Pool) -> int:
    """The size of every stored content, each counted once, also of imports under way."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT COALESCE(sum(size), 0)::bigint AS used FROM ("
            "SELECT DISTINCT file.value ->> 0 AS digest, (file.value ->> 1)::bigint AS size "
            "FROM loggia.jobs AS job, jsonb_each(job.journal -> 'files') AS file "
            "WHERE job.kind = %s) AS stored",
            (IMPORT,),
        ).fetchone()
    return int(row["used"]) if row else 0
