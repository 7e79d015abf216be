"""What outlives a control plane that dies or is replaced: the next one goes on from it.

If the next one has the same configuration nobody notices. For another one the registry must follow
it first (`Registry.follow`); each part takes over what it still has a use for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbproxy.cluster.ledger import Ledger
from lbproxy.cluster.registry import Registry
from lbproxy.control.journal import Journal


@dataclass(frozen=True, slots=True)
class KeptControl:
    """All that a control plane knows and could not find out again, to be pickled in one piece.

    Args: facts: as `ControlFacts.kept` returns them; takers: as `Takers.kept`; parts: by the part's
    name, as `Part.kept`.
    """

    registry: Registry
    ledger: Ledger
    journal: Journal
    facts: object
    takers: object
    parts: Mapping[str, object]
