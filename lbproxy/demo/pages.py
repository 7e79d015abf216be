"""The HTML of a demo node. Every value is escaped here, in one place."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from aiohttp import web

STYLE = """\
:root { color-scheme: light dark; --ink: #1d2433; --paper: #f5f6fa; --card: #fff; --accent: #2c4bd6;
  --line: #c9cede; --bad: #b3161d; font: 100%/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf4; --paper: #12151d; --card: #1c2130;
  --accent: #8ea4ff; --line: #454d66; --bad: #ff9a9e; } }
body { margin: 0; color: var(--ink); background: var(--paper); }
main { max-width: 44rem; margin: 3rem auto; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
main.narrow { max-width: 22rem; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { box-sizing: border-box; width: 100%; padding: .6rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: .4rem; }
button, a.button { display: inline-block; margin-top: 1.25rem; padding: .6rem 1.25rem;
  font: inherit; font-weight: 600; color: var(--card); background: var(--accent); border: 0;
  border-radius: .4rem;
  text-decoration: none; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
a { color: var(--accent); }
.error { padding: .6rem .8rem; color: var(--bad); border: 1px solid var(--bad);
  border-radius: .4rem; }
.served { margin-top: 2rem; font-size: .875rem; opacity: .85; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .35rem .5rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { white-space: nowrap; }
"""

_SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(
    node: str, title: str, body: str, *, status: int = 200, narrow: bool = False
) -> web.Response:
    """Return an HTML answer that says which node made it. `body` is HTML, the others are text."""
    text = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="stylesheet" href="/style.css"></head>
<body><main{' class="narrow"' if narrow else ""}>
<h1>{escape(title)}</h1>
{body}
<p class="served">Answered by <strong>{escape(node)}</strong></p>
</main></body>
</html>
"""
    return web.Response(text=text, status=status, content_type="text/html", headers=_SAFE)


def login_form(*, form: str, request_token: str, user: str = "", error: str = "") -> str:
    """Return the login form. `form`, `request_token`: POST /login needs them to go on."""
    alert = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    invalid = ' aria-invalid="true"' if error else ""
    return f"""{alert}
<form method="post" action="/login">
<input type="hidden" name="form" value="{escape(form)}">
<input type="hidden" name="request" value="{escape(request_token)}">
<label for="username">User name</label>
<input id="username" name="username" value="{escape(user)}" autocomplete="username"
 autocapitalize="none" spellcheck="false" maxlength="64" required autofocus>
<label for="password">Password <small>(it is &ldquo;demo&rdquo;)</small></label>
<input id="password" name="password" type="password" autocomplete="current-password"
 maxlength="128" required{invalid}>
<button type="submit">Log in</button>
</form>"""


def table(rows: Iterable[tuple[str, str]], caption: str) -> str:
    """Return a two-column table of text."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<h2>{escape(caption)}</h2><table>{lines}</table>"


def message(text: str, *, error: bool = False) -> str:
    """Return one paragraph of text."""
    return (
        f'<p class="error" role="alert">{escape(text)}</p>' if error else f"<p>{escape(text)}</p>"
    )
