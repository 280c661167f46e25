"""Starts Triton with a model repository, and answers for it on one loopback port."""

from __future__ import annotations

import argparse
import asyncio
import sys

from .application import serve
from .server import ServerFailed, Start


def main() -> None:
    """Serves until SIGTERM; ends with 1 and the reason where Triton does not start or ends."""
    parser = argparse.ArgumentParser(prog="triton_front")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="the name by which callers know it")
    parser.add_argument("--serves", required=True, help="the model of the repository it stands for")
    parser.add_argument("--repository", required=True)
    parser.add_argument("--gpu", action="store_true")
    given, server_arguments = parser.parse_known_args()
    start = Start(
        repository=given.repository,
        arguments=tuple(argument for argument in server_arguments if argument != "--"),
        on_gpu=given.gpu,
    )
    try:
        asyncio.run(serve(start, port=given.port, name=given.model, serves=given.serves))
    except ServerFailed as failure:
        print(f"triton_front: {failure}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
