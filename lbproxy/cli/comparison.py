"""What a running lbproxy would change if it got a configuration from a file of ours.

Its settings are asked for, and compared here by the code that plans a reload. It is handed neither
the file nor a path: it would have to read, with its own rights, whatever somebody names.
"""

from __future__ import annotations

from pydantic import ValidationError

from lbproxy import __version__
from lbproxy.cli.admin_client import AdminApiError, AdminClient
from lbproxy.config.schema import Config
from lbproxy.runtime.reading import plan


def changes_of(client: AdminClient, config: Config) -> tuple[str, ...]:
    """Return in words what would change, nothing if nothing would.

    What names no state file has the one of the running lbproxy: the usual place depends on who
    runs it. Raises: AdminApiError: it cannot be asked, or does not know these settings.
    """
    answer = client.config()
    try:
        running = Config.model_validate(answer["settings"])
    except ValidationError:
        raise AdminApiError(
            f"the running lbproxy is version {answer.get('version')}, this one {__version__}: "
            "their settings cannot be compared; use the `lbproxy` of the running one"
        ) from None
    if config.state_file is None:
        config = config.model_copy(update={"state_file": running.state_file})
    _, outcome = plan(running, config, alone=answer.get("workers") == 0)
    return outcome.changes
