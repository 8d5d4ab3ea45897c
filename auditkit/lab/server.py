"""The Jupyter Server extension: a server records, where it is configured to, what is done through it.

Installing auditkit makes it known to every server of the environment (`etc/jupyter/jupyter_server_config.d/auditkit.json`).  It is off until a trail is named,
in the server's configuration (`c.AuditKit.trail = "/srv/audit"`) or on its command line (`jupyter lab --AuditKit.trail=audit`),
and then costs a server nothing; the variable AUDITKIT_TRAIL, which commands follow, does not turn it on.
"""

from pathlib import Path

from jupyter_server.serverapp import ServerApp
from traitlets import Unicode
from traitlets.config import LoggingConfigurable


class AuditKit(LoggingConfigurable):
    """What a server's configuration says of auditkit."""

    trail = Unicode(
        "",
        config=True,
        help="The folder of the trail that records what is done through this server; none: nothing.",
    )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "auditkit.lab.server"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Record from now on, if a trail is named (called by Jupyter Server)."""
    configured = AuditKit(parent=server)
    if not configured.trail:
        return
    from auditkit.lab.listening import (
        Listener,
    )  # most servers record nothing, and need not load a trail for it
    from auditkit.lab.outbox import Outbox

    path = Path(configured.trail).expanduser().absolute()
    outbox = Outbox(path, name="what this server does", log=server.log)
    if outbox.open():
        server.log.info("auditkit: recording what is done through this server into %s", path)
    Listener(server, outbox).attach()
