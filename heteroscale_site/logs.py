"""One line of JSON a log entry, or coloured lines on a terminal."""

from __future__ import annotations

import logging.config
import sys

import structlog
from structlog.typing import Processor


def configure(*, level: str) -> None:
    """Send structlog and the standard library's loggers to standard error in one form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if sys.stderr.isatty():
        last.append(structlog.dev.ConsoleRenderer())
    else:
        # JSON escapes line breaks and control characters, so a value cannot forge a second entry.
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "entry": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": last,
                    "foreign_pre_chain": shared,
                },
            },
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "entry"},
            },
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # It tells of each request to a cluster, of which there are several a second.
                "httpx2": {"level": "WARNING"},
                # A refused host name or a 404 is the visitor's doing and would drown the rest.
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "django.request": {"level": "ERROR"},
                "django.server": {"level": "WARNING"},
            },
        }
    )
