"""The codecs of HTTP/1 and AJP as built and as plain Python: both must behave alike."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lbproxy.wire
from lbproxy.wire.ajp13_request import Ajp13Encoder, Facts
from lbproxy.wire.ajp13_response import Ajp13Reader
from lbproxy.wire.fields import BadHead, DropRules, FieldCursor
from lbproxy.wire.http1_body import BodyLimits, ChunkedReader
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_request import RequestParser
from lbproxy.wire.http1_response import ResponseHead, ResponseParser
from lbproxy.wire.request_head import RequestHead
from tests.fuzz.ajp13 import as_head

# In the order in which they import each other.
NAMES = (
    *("field_kinds", "fields", "authority", "http1_head", "request_head", "edit", "http1_render"),
    *("request_rules", "http1_request", "http1_response", "http1_body"),
    *("ajp13", "ajp13_request", "ajp13_response_head", "ajp13_response"),
)


def as_plain_python() -> dict[str, ModuleType]:
    """Return the codecs run from their sources, each importing the plain form of the others."""
    qualified = [f"lbproxy.wire.{name}" for name in NAMES]
    saved = {name: sys.modules[name] for name in qualified}
    plain = {}
    try:
        for name in NAMES:
            path = Path(lbproxy.wire.__file__).with_name(f"{name}.py")
            spec = importlib.util.spec_from_file_location(f"lbproxy.wire.{name}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            plain[name] = module
    finally:
        sys.modules.update(saved)
    return plain


@dataclass(frozen=True)
class Wire:
    """One form of the codecs; `modules` by their short names."""

    modules: dict[str, ModuleType]

    @property
    def bad_head(self) -> type[BadHead]:
        found: type[BadHead] = self.modules["fields"].BadHead
        return found

    def cursor(self) -> FieldCursor:
        made: FieldCursor = self.modules["fields"].FieldCursor()
        return made

    def drops(self) -> DropRules:
        rules: DropRules = self.modules["fields"].DropRules(
            (b"forwarded", b"x-real-ip", b"via"), (b"x-forwarded-", b"x-original-")
        )
        return rules

    def limits(self, line: int, head: int, fields: int) -> HeadLimits:
        made: HeadLimits = self.modules["http1_head"].HeadLimits(line, head, fields)
        return made

    def requests(self, line: int = 8192, head: int = 65536, fields: int = 128) -> RequestParser:
        limits = self.limits(line, head, fields)
        made: RequestParser = self.modules["http1_request"].RequestParser(limits, self.drops())
        return made

    def responses(self, line: int = 65536, head: int = 65536, fields: int = 200) -> ResponseParser:
        limits = self.limits(line, head, fields)
        made: ResponseParser = self.modules["http1_response"].ResponseParser(limits)
        return made

    def body(
        self, line: int = 256, trailers: int = 8192, fields: int = 128, keep: bool = True
    ) -> ChunkedReader:
        module = self.modules["http1_body"]
        limits: BodyLimits = module.BodyLimits(line, trailers, fields)
        made: ChunkedReader = module.ChunkedReader(limits, self.drops() if keep else None)
        return made

    def ajp_encoder(self) -> Ajp13Encoder:
        made: Ajp13Encoder = self.modules["ajp13_request"].Ajp13Encoder()
        return made

    def as_head(self, text: bytes) -> RequestHead:
        """Return a head of what may be no head, for encoders that rely on no parser."""
        made: RequestHead = self.modules["request_head"].RequestHead()
        return as_head(text, made)

    def ajp_facts(self, **facts: Any) -> Facts:
        made: Facts = self.modules["ajp13_request"].Facts(**facts)
        return made

    def ajp_reader(self, head: int = 65536, fields: int = 200) -> Ajp13Reader:
        limits = self.limits(0, head, fields)
        made: Ajp13Reader = self.modules["ajp13_response"].Ajp13Reader(limits)
        return made

    def valid_authority(self, authority: bytes) -> bool:
        return bool(self.modules["authority"].valid_authority(authority))

    def request(self, data: bytes, keep_received: bool = False) -> RequestHead:
        """Parse a request that must be accepted."""
        head = self.requests().parse(data, 0, keep_received)
        assert head is not None
        return head

    def response(self, data: bytes, method_id: int = 1, cookies: bool = False) -> ResponseHead:
        """Parse a response that must be accepted."""
        head = self.responses().parse(data, 0, method_id, cookies)
        assert head is not None
        return head


@pytest.fixture(scope="session")
def built() -> Wire:
    return Wire({name: importlib.import_module(f"lbproxy.wire.{name}") for name in NAMES})


@pytest.fixture(scope="session")
def plain() -> Wire:
    return Wire(as_plain_python())


@pytest.fixture(params=["built", "plain"], scope="session")
def wire(request: pytest.FixtureRequest, built: Wire, plain: Wire) -> Wire:
    return built if request.param == "built" else plain
