"""What outlives a control plane that dies: the next one goes on from it, and nobody notices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbproxy.cluster.ledger import Ledger
from lbproxy.cluster.registry import Registry
from lbproxy.control.journal import Journal


@dataclass(frozen=True, slots=True)
class KeptControl:
    """All that a control plane knows and could not find out again, to be pickled in one piece.

    Args: facts: as `ControlFacts.kept` returns them; parts: by the part's name, as `Part.kept`.
    """

    registry: Registry
    ledger: Ledger
    journal: Journal
    facts: object
    parts: Mapping[str, object]
