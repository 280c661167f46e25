"""Lists ask the database as often for many models as for few."""

from __future__ import annotations

import pytest

from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.readmodels import batches
from backend.readmodels.cursors import Cursors
from backend.readmodels.gallery import Gallery
from backend.readmodels.gallery_filters import Filters
from tests.bench.filled_gallery import fill_gallery
from tests.rig.statements import statements


@pytest.mark.parametrize("models", [10, 2000])
def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(
    settings: Settings, models: int
) -> None:
    fill_gallery(settings, models)
    with open_pool(settings) as pool:
        gallery, cursors = Gallery(pool), Cursors(settings.secret_key)

        def page(search: str = "", cursor: str | None = None):  # type: ignore[no-untyped-def]
            return gallery.page(
                Filters(search=search),
                sort="newest",
                cursor=cursor,
                limit=5,
                cursors=cursors,
                may=lambda _: True,
            )

        with statements() as told:
            first = page()
        assert first.total == models
        assert len(told) <= 4
        with statements() as told:
            page(cursor=first.next_cursor)
        assert len(told) <= 2
        with statements() as told:
            page(search="model")
        assert len(told) <= 4

        names = [item.name for item in first.items]
        manifest = names + [f"new-{number}" for number in range(models // 2 - len(names))]
        with statements() as told:
            found = batches.existing(pool, manifest)
        assert set(found) == set(names)
        assert len(told) == 1
