"""What nodes serve, in short: `/auth` enabled, `/auth-` disabled, `/auth!` stopped."""

from __future__ import annotations

from lbproxy.cluster.contexts import Context, ContextState, VirtualHost

STATES = {"": ContextState.ENABLED, "-": ContextState.DISABLED, "!": ContextState.STOPPED}


def host(text: str, *names: str) -> VirtualHost:
    """Return a virtual host. Args: text: its contexts; names: its aliases."""
    contexts = []
    for word in text.split():
        path = word.rstrip("-!")
        contexts.append(Context(path, STATES[word[len(path) :]]))
    return VirtualHost(names or ("default-host", "localhost"), tuple(contexts))
