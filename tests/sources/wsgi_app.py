"""A small service that is loaded before its workers are forked, run by gunicorn in `test_logging`."""

import logging
import logging.config
import os
from collections.abc import Callable, Iterable
from typing import Any

import auditkit as ak

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"audit": {"class": "auditkit.sources.logging.AuditHandler", "source": "shop"}},
    "loggers": {"shop": {"handlers": ["audit"], "level": "INFO", "propagate": False}},
}


def make_application() -> Callable[..., Iterable[bytes]]:
    """Return the service, for the trail that AUDITKIT_TRAIL names."""
    logging.config.dictConfig(LOGGING)
    log = logging.getLogger("shop")
    trail = ak.open()
    trail.append(action="service.start").wait()
    trail.range()  # Polars has its threads before the fork, and the workers will have none
    log.info("loaded")

    @ak.audited(trail, action="order.price")
    def price(number: int) -> int:
        return number * 100

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        number = int(environ["PATH_INFO"].strip("/"))
        with ak.bind(actor=f"user-{number}", correlation=f"request-{number}"):
            log.info("priced %d", price(number), extra={"resource": f"order/{number}", "pid": os.getpid()})
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]

    return application
