"""Checks of a front door from outside: what users will report, found before they do.

Works against any proxy, not lbproxy alone. It sends harmless GET requests, and its findings hold
no query strings, cookie values or bodies.

- `door`      one origin as a client sees it: requests sent byte for byte, certificates
- `facts`     what each identity provider has where: discovery, login, what must stay hidden
- `findings`  what a check says
- `forwarded` checks of redirects, discovery and forged fields
- `exposure`  checks of hidden paths, health and metrics, and the plain listener
- `transport` checks of cookies, certificates and HSTS
- `examine`   all of them in order
"""
