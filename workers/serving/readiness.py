"""Has revisions prepared, and says what it means for one where that fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.errors import DomainError
from backend.infra.logging import get_logger
from workers.serving.environments import Abandonment, EnvironmentFailed
from workers.serving.failures import Failure, RevisionLost
from workers.serving.files import FilesUnavailable
from workers.serving.launchers.launcher import Launchers
from workers.serving.optimization.conversion import ConversionFailed
from workers.serving.patience import Patience
from workers.serving.preparation import Preparations, Prepared
from workers.serving.subject import Subject

_log = get_logger(__name__)


class Readiness:
    """One deployment's, while its lease is held."""

    def __init__(
        self,
        subject: Callable[[Deployment, int], Subject],
        *,
        launchers: Launchers,
        preparations: Preparations,
        patience: Patience,
    ) -> None:
        """`subject` says what a revision serves."""
        self._subject = subject
        self._launchers = launchers
        self._preparations = preparations
        self._patience = patience
        # Failures in a row, and when the next try is due.
        self._failed: dict[int, tuple[int, float]] = {}

    def of(
        self, deployment: Deployment, revision: int, configuration: DeployConfiguration
    ) -> Prepared | None:
        """What a revision that does not serve yet is started with, or None while it is made.

        Raises `RevisionLost` where it cannot be had.
        """
        try:
            needs = self._launchers.named(configuration.hardware.server).needs
            subject = self._subject(deployment, revision)
            return self._preparations.get(revision, configuration, subject, needs)
        except Abandonment:
            return None
        except (EnvironmentFailed, ConversionFailed) as error:
            failure = Failure(error.reason, error.remedy, error.log_tail)
        except FilesUnavailable as error:
            failure = Failure(error.reason, error.remedy)
        except DomainError as error:
            failure = Failure(error.detail, error.remedy)
        except OSError as error:
            failure = Failure(
                f"The engine's environment could not be made: {error}.",
                "Check the free space and the permissions of LOGGIA_CACHE_DIR, then redeploy.",
            )
        raise RevisionLost(failure)

    def again(
        self, deployment: Deployment, revision: int, configuration: DeployConfiguration
    ) -> Prepared | None:
        """The same for a revision that serves: its engines go on, whatever is amiss.

        It is tried again, after ever longer pauses.
        """
        failures, due = self._failed.get(revision, (0, 0.0))
        if time.monotonic() < due:
            return None
        try:
            return self.of(deployment, revision, configuration)
        except Exception as error:
            self._preparations.forget(revision)
            pause = self._patience.pause(failures + 1)
            self._failed[revision] = (failures + 1, time.monotonic() + pause)
            _log.warning(
                "a revision that serves could not be prepared, trying again",
                deployment=str(deployment.id),
                revision=revision,
                seconds=pause,
                error=str(error),
            )
            return None
