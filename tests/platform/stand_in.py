"""The real supervisor, PostgreSQL and broker with small stand-ins for the roles.

Run as a module by the supervisor's tests, because a supervisor owns its process's signals. The
environment variable STAND_IN_ROLES names the roles to run, out of those below.
"""

import os
import sys

from backend.embedded.children import Child
from backend.embedded.errors import EmbeddedError
from backend.embedded.supervisor import FOLLOWERS, FRONT, Preparation, supervise
from backend.infra.settings import load_settings

ANNOUNCE = "from backend.infra.readiness import announce_ready as ready; "
WAIT = "import signal; signal.sigwait([signal.SIGTERM])"

BODIES = {
    # Logs a structured line, does its work, ends when told.
    "steady": ANNOUNCE
    + 'import json; print(json.dumps({"event": "working", "level": "info", "port": 7}));'
    + f"ready(); {WAIT}",
    # Prints what could harm a terminal.
    "rude": ANNOUNCE + f"print('before\\x1b[2Jafter\\x07'); ready(); {WAIT}",
    # Hears no SIGTERM, and has a child that hears none either.
    "stubborn": ANNOUNCE
    + "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    + "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    + "ready(); time.sleep(600)",
    # Ends before it is ready, every time.
    "broken": "import sys; print('no such table: widgets'); sys.exit(7)",
    # Never ready, never done.
    "silent": WAIT,
}
STAGES = {"steady": FOLLOWERS}


def main() -> int:
    children = [
        Child(name, (sys.executable, "-c", BODIES[name]), STAGES.get(name, FRONT), 2)
        for name in os.environ["STAND_IN_ROLES"].split()
    ]
    preparation = Preparation(
        lambda _: [], lambda _: None, lambda _: os.environ.get("STAND_IN_PASSWORD")
    )
    try:
        return supervise(load_settings(), children, preparation)
    except EmbeddedError as error:
        print(f"Error: {error.detail}\n  {error.remedy}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
