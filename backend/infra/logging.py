"""Structured logs on standard output: readable in a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog

# Values under these names never reach a log line.
_SECRET = {"authorization", "cookie", "password", "secret", "token", "api_key", "dsn", "prompt"}


def _redact(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name in event:
        if name.lower() in _SECRET:
            event[name] = "***"
    return event


def configure_logging(role: str, log_format: str = "text") -> None:
    """Sets up the process's log, as `text` or as `json`; `role` stands on every line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            structlog.processors.JSONRenderer()
            if log_format == "json"
            else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    logging.basicConfig(
        stream=sys.stdout, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # kafka-python reports every retry as an error; the callers say what matters.
    logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes facts as keyword arguments."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(module=name))
