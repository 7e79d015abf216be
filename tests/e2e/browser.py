"""What a browser does that matters to a front door: cookies as they come, redirects, forms."""

from __future__ import annotations

import html
import http.client
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin, urlsplit

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Page:
    """A whole response."""

    url: str
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name), None)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def form_action(self) -> str:
        """Where the page's first form is sent."""
        found = re.search(r'<form[^>]*\saction="([^"]+)"', self.text)
        assert found, f"no form at {self.url} ({self.status}): {self.text[:500]}"
        return urljoin(self.url, html.unescape(found[1]))


@dataclass
class Browser:
    """Speaks to one origin. Cookies are kept byte for byte, quotes and all, by name and path."""

    origin: str
    context: ssl.SSLContext | None = None
    cookies: dict[tuple[str, str], str] = field(default_factory=dict)

    def cookie(self, name: str) -> str | None:
        return next((value for (key, _), value in self.cookies.items() if key == name), None)

    def cookie_field(self, path: str) -> str:
        """The Cookie field for a path, the longest cookie path first."""
        fitting = [
            (len(where), f"{name}={value}")
            for (name, where), value in self.cookies.items()
            if path.startswith(where)
        ]
        return "; ".join(pair for _, pair in sorted(fitting, key=lambda pair: -pair[0]))

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Page:
        """Send one request on a new connection; `url` may be a path. Follows nothing."""
        url = urljoin(self.origin, url) if not url.startswith("//") else self.origin + url
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == self.origin, f"left the door: {url}"
        assert parts.hostname is not None
        connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(
                parts.hostname, parts.port, context=self.context, timeout=PATIENCE_S
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        )
        sent = {"User-Agent": "e2e", "Accept": "text/html,*/*;q=0.8"} | dict(fields or {})
        if self.cookies and "Cookie" not in sent:
            sent["Cookie"] = self.cookie_field(parts.path)
        target = url[len(self.origin) :] or "/"
        try:
            connection.request(method, target, body, sent)
            response = connection.getresponse()
            page = Page(url, response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        self._keep(page, parts.path)
        return page

    def open(self, url: str) -> Page:
        """GET, following redirects while they stay at this origin."""
        page = self.request("GET", url)
        for _ in range(10):
            location = page.get("location")
            if page.status // 100 != 3 or location is None:
                return page
            target = urljoin(page.url, location)
            if not target.startswith(self.origin + "/"):
                return page
            page = self.request("GET", target)
        raise AssertionError(f"endless redirects at {page.url}")

    def post(self, url: str, form: Mapping[str, str]) -> Page:
        """Send a form."""
        return self.request(
            "POST",
            url,
            urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.origin},
        )

    def _keep(self, page: Page, path: str) -> None:
        for name, value in page.fields:
            if name.lower() != "set-cookie":
                continue
            pair, *attributes = value.split(";")
            key, _, content = pair.strip().partition("=")
            given = {
                part.strip().partition("=")[0].lower(): part.strip().partition("=")[2]
                for part in attributes
            }
            where = given.get("path") or path.rpartition("/")[0] or "/"
            if given.get("max-age") == "0" or "01-Jan-1970" in value or "1 Jan 1970" in value:
                self.cookies.pop((key, where), None)
            else:
                self.cookies[(key, where)] = content
