"""Names of fields by which somebody claims who a client is, what it showed and what it asked for.

Such a field is worth something only if a proxy wrote it that nobody can get past. lbproxy is
that proxy, and writes its own few; whatever comes from clients under such names is a claim. The
names are without number, as each product has its own, so they are told by what they are made of:
a client's certificate or its subject; an address, host, scheme or port that was forwarded or is the
original one; a user whom somebody else has authenticated.

How rules are written here: words with which a claim begins, and a regular expression for what
follows, in which a space stands for any separators or none (`x-client-ip`, `X_Client.IP`,
`XClientIP`) and `>` for the end of a word. The words are found anywhere in a name; behind `<` at
the beginning of a word; behind `^` at the beginning of the name, where `x-` does not count, and
behind `@` if `x-` is there.
"""

from __future__ import annotations

import re

from lbproxy.wire.fields import ANYWHERE, AT_START, AT_WORD, BEHIND_X, Rule

# Folded names and beginnings of names (separators as `-`).
EXACT = frozenset((b"x-request-id", b"https", b"scheme", b"ip", b"dn", b"affiliation"))
PREFIXES = (
    b"x-forwarded-", b"x-original-", b"remote-", b"x-remote-", b"ssl-", b"x-ssl-", b"cert-",
    b"x-cert-", b"client-cert", b"x-client-cert", b"x-amzn-mtls-",
    b"http-",  # HTTP_X_FORWARDED_FOR and the like: CGI's names, which some look for as fields
)  # fmt: skip

_WHERE = (
    "(?:ips?|ipv[46]|ip addr(?:ess)?|addr(?:ess)?|host|host name|port|scheme|proto|protocol|asn|"
    "https)>"
)
_PERSON = (
    "(?:users?|usr|user name|user id|uid|e ?mail|groups?|roles?|subject|principal|login|"
    "display name|full name|real name|user info|claims?|dn|entitlements?|upn|scopes?)>"
)
_RULES = (
    # a client's certificate, its subject, how it was shown
    ("<cert", "s?>"),
    ("<cert", " (?:chain|subject|issuer|serial|hash|dn|id|presented|verified)"),
    ("certificate spiffe edgescape <xfcc", ""),
    ("client ssl tls x509 peer user auth proxy device", " certs?"),
    ("<ssl <tls <mtls", ""),
    ("mutual", " (?:auth|tls|ssl)"),
    ("x509", ""),
    ("subject issuer client user cert ssl", " (?:dn|cn)>"),
    ("<s-dn <s-cn <i-dn <i-cn <sdn <idn", ">"),
    ("<dn <cn", " (?:subject|issuer)>"),
    ("^dn ^cn ^upn ^email ^groups ^roles ^principal ^identity", "$"),
    ("subject", " (?:name|alt|san|id|key|common)"),
    ("client", " (?:verif|serial|san>|subject|issuer|s dn)"),
    ("distinguished common", " name>"),
    ("^verify", " (?:result|status)"),
    # what was forwarded, or stood in the original request
    ("forward", "(?!s>|ing>)"),
    ("<fwd", ""),
    (
        "client remote real true source src orig origin original originating originator viewer "
        "visitor connecting peer <socket external public caller user proxy cluster edge downstream "
        "frontend requester incoming inbound azure pseudo internal",
        f" {_WHERE}",
    ),
    ("front", f" end {_WHERE}"),
    ("@ip", "(?: addr(?:ess)?)?$"),
    ("@addr @host @port @scheme @proto @protocol @https @secure", "$"),
    ("@host", " name$"),
    ("http override rewrite default request target disguised", " host>"),
    ("default", " host name>"),
    ("host", " override"),
    ("url uri request http <web", " (?:scheme|proto|protocol)>"),
    ("orig original rewrite", " (?:url|uri|path|query|request)>"),
    ("<request", " uri>"),
    ("^base", " url>"),
    ("^script ^server", " (?:name|port|addr|protocol)>"),
    ("^gateway", " interface"),
    # a user whom somebody else has authenticated
    (
        "remote auth authn authenticated webauth sso iap oidc saml oauth oauth2 ldap krb kerberos "
        "ident identity principal asserted verified federated proxy impersonate current effective "
        "<end <cas login logon gateway <gw webseal access",
        f" {_PERSON}",
    ),
    ("auth", f" request {_PERSON}"),
    ("web", f" auth {_PERSON}"),
    ("logged", f" in {_PERSON}"),
    ("^user", f"(?: (?:{_PERSON}|name|id))?$"),
    ("^remote", " (?:name>|ident>|extra)"),
    ("^auth", " type>"),
    ("user", " info>"),
    ("principal", " name>"),
    ("jwt", " (?:assertion|payload|claims?)"),
    ("credential", " (?:identifier|user name)"),
    ("^id", " token>"),
    ("^eppn ^epuid", "$"),
    ("^persistent ^targeted", " id$"),
    # products that write such fields under a beginning of their own
    ("^envoy ^wlproxy ^osso ^shib ^mellon ^pomerium ^authentik ^vouch ^tyk ^tailscale", ""),
    ("^teleport ^istio ^zscaler ^bluecoat ^citrix ^wso2 ^forgerock ^appengine ^weblogic", ""),
    ("^kong ^apigee ^sm ^oam ^oidc ^eai ^ns ^nsc ^f5 ^zpa ^gravitee ^arr", ">"),
    ("^wl", " proxy"),
    ("^web", " logic"),
    ("^app", " engine"),
    ("^blue", " coat"),
    ("^forge", " rock"),
    ("^am", " eai"),
    ("^arr", " (?:ssl|client)"),
    ("^azure", " (?:client|socket|fdid)"),
    ("^amzn", " (?:oidc|mtls|tls)"),
    ("^goog", " (?:iap|authenticated)"),
    ("^ms", " (?:client principal|token)"),
    ("^cf", " (?:access|connecting|client|cert|visitor|pseudo|tls)"),
    ("^cloudfront", " (?:viewer|forwarded|is)"),
    ("^cloud", " front (?:viewer|forwarded|is)"),
    ("^fastly", " (?:client|ff$|ssl|orig|tls)"),
    ("^akamai", " (?:client|user|true|origin)"),
    ("^proxy", " (?:client|remote)"),
    ("^ws", "(?:cc|ra|rh|is|sc|pr|sn|sp|ru|at|cs|si)$"),  # as `$WSCC`
    ("^iv", " (?:user|groups?|creds|remote|server|jct)"),
    ("^sm", " (?:user|auth|universal|group|server|session)"),
    ("^oam", " (?:remote|ident|user|last|imperson)"),
    ("^oidc", " (?:claim|access|id|refresh)"),
    ("^auth", " request"),
    ("^consumer", " (?:id|custom|user|group)"),
    ("^anonymous", " consumer"),
    ("^ngrok ^pf", " auth"),
    ("^token", " (?:user|subject)"),
)
# The longest name that a product documents has less than 50 bytes. In longer ones nothing is looked
# for but the beginnings above: reading costs by the byte.
MAX_NAME = 64

_PLACES = {"<": AT_WORD, "^": AT_START, "@": BEHIND_X}


def _rules() -> list[Rule]:
    made: list[Rule] = []
    for words, text in _RULES:
        tail = text.replace(" ?", " ").replace(" ", "-*").replace(">", "(?![a-z0-9])")
        pattern = re.compile(tail.encode()) if tail else None
        for word in words.split(" "):
            place = _PLACES.get(word[0], ANYWHERE)
            made.append(Rule(place, word.lstrip("<^@").encode(), pattern))
    return made


RULES = tuple(_rules())
