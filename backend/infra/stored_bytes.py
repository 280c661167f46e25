"""How much the models' files take in the object store."""

from __future__ import annotations

from backend.infra.postgres import Pool

# The kinds of jobs that store files; a job's journal says which.
IMPORT = "import"
# Files made from those of a version; done by the deploy worker itself, never claimed.
ARTEFACT = "artefact"
STORING = [IMPORT, ARTEFACT]


def stored_bytes(pool: Pool) -> int:
    """The size of every stored content, each counted once, also of imports under way."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT COALESCE(sum(size), 0)::bigint AS used FROM ("
            "SELECT DISTINCT file.value ->> 0 AS digest, (file.value ->> 1)::bigint AS size "
            "FROM loggia.jobs AS job, jsonb_each(job.journal -> 'files') AS file "
            "WHERE job.kind = ANY(%s)) AS stored",
            (STORING,),
        ).fetchone()
    return int(row["used"]) if row else 0
