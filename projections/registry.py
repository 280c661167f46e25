"""Every projection there is. A new one is a file with its tables and handlers, and a line here."""

from __future__ import annotations

from projections.audit import AUDIT
from projections.billing import BILLING
from projections.deployments import DEPLOYMENT_HISTORY
from projections.gallery import GALLERY
from projections.marketplace import MARKETPLACE
from projections.servers import SERVERS
from projections.tables import Projection

PROJECTIONS: dict[str, Projection] = {
    projection.name: projection
    for projection in (GALLERY, DEPLOYMENT_HISTORY, MARKETPLACE, SERVERS, AUDIT, BILLING)
}
