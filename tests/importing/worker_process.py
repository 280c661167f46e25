"""An import worker's executor as a process of its own, to be killed and paused by tests.

Settings come from LOGGIA_* variables. PAUSE_AT=step:reading makes the process stop itself
(SIGSTOP) at that reading of its progress.
"""

from __future__ import annotations

import os
import signal

from backend.infra.logging import configure_logging
from backend.infra.settings import Settings
from backend.infra.shutdown import stop_on_signals
from backend.infra.telemetry import Telemetry
from tests.importing.workplace import open_site


def main() -> None:
    configure_logging("work-import")
    stop = stop_on_signals()
    step, _, number = os.environ.get("PAUSE_AT", ":0").partition(":")
    left = int(number)

    def pause(reading: Telemetry) -> None:
        nonlocal left
        left -= reading.step == step
        if reading.step == step and left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)

    with open_site(Settings(_env_file=None), stop=stop) as site:
        site.telemetry.watch = pause
        executor = site.executor
        executor.start()
        # A signal that another thread received is noticed only between waits.
        while not stop.wait(0.2):
            pass
        executor.join()


if __name__ == "__main__":
    main()
