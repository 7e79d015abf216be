"""Start `lbproxy`. Imports as little as can be: if the rest of it cannot be imported, an upgrade to
this version must fail without harm."""

import os
import sys

from lbproxy.upgrade.caretaker import Caretaker
from lbproxy.upgrade.handover import BadHandover, Handover, take
from lbproxy.upgrade.program import take_descriptors
from lbproxy.upgrade.taking_over import begin


def main() -> int:
    """Run one command, perhaps in the place of a program that left its work; return the exit
    code."""
    try:
        handover = take(os.environ)
    except BadHandover as error:
        # Nobody knows of the children; they drain, since their supervisor's ends of the channels
        # close with this process.
        print(f"lbproxy: cannot take over: {error}", file=sys.stderr)
        return 1
    if handover is not None:
        return _take_over(handover)
    from lbproxy.cli import main as command

    return command()


def _take_over(handover: Handover) -> int:
    """Run as the one that left its work, or look after what it left."""
    take_descriptors(handover)
    state = begin(handover)
    try:
        from lbproxy.cli import main as command

        code = command()
        why = state.why or f"it ended with exit code {code}"
    except BaseException as error:
        if state.done:
            raise
        why = f"{type(error).__name__}: {error}"
    if state.done:
        return code
    return Caretaker(handover, why).run()


if __name__ == "__main__":
    sys.exit(main())
