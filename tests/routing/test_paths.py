"""Readings of a path, and what outsiders may not reach however they spell it."""

from __future__ import annotations

import posixpath
import re
from types import ModuleType
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

PLAIN = [
    b"/",
    b"/a",
    b"/a/",
    b"/a/b.c",
    b"/.well-known/openid-configuration",
    b"/..a",
    b"/...",
    b"/a/.../b",
    b"/a.",
    b"/a..",
    b"/realms/x/~user!$&'()*+,=:@",
]
NOT_PLAIN = [
    b"",
    b"*",
    b"a",
    b"//",
    b"//a",
    b"/a//b",
    b"/a//",
    b"/.",
    b"/..",
    b"/./a",
    b"/../a",
    b"/a/.",
    b"/a/..",
    b"/a/./b",
    b"/a/../b",
    b"/a%20",
    b"/a;b",
    b"/a\\b",
    b"/a?b",
    b"/a#b",
    b"/a b",
    b"/a\x00",
    b"/a\x7f",
    b"/\xc3\xa9",
]


@pytest.mark.parametrize("path", PLAIN)
def test_a_path_that_all_nodes_read_alike_is_plain(paths: ModuleType, path: bytes) -> None:
    assert paths.plain(path)
    assert paths.readings(path) == (path,)


@pytest.mark.parametrize("path", NOT_PLAIN)
def test_a_path_with_a_second_reading_is_not_plain(paths: ModuleType, path: bytes) -> None:
    assert not paths.plain(path)


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        (b"/%61dmin", b"/admin"),
        (b"/%2561dmin", b"/admin"),
        (b"/x/../admin", b"/admin"),
        (b"/x/./admin", b"/x/admin"),
        (b"/x/..", b"/"),
        (b"/x/.", b"/x/"),
        (b"//admin", b"/admin"),
        (b"/admin;x=1/y", b"/admin/y"),
        (b"/;x/admin", b"/admin"),
        (b"/.;/admin", b"/admin"),
        (b"/x/..;/admin", b"/admin"),
        (b"/x/%2e%2e/admin", b"/admin"),
        (b"/x/%252e%252e/admin", b"/admin"),
        (b"/x%2f..%2fadmin", b"/admin"),
        (b"/x%252f..%252fadmin", b"/admin"),
        (b"/x\\..\\admin", b"/admin"),
        (b"/x%5c..%5cadmin", b"/admin"),
        (b"/admin%3bx", b"/admin"),
        (b"/admin%3fx", b"/admin"),
        (b"/admin%23x", b"/admin"),
        (b"/x//../admin", b"/x/admin"),
        (b"/x//../admin", b"/admin"),
        (b"/100%25", b"/100%"),
        (b"//x/admin", b"/admin"),
        (b"//u@x:80/admin", b"/admin"),
        (b"///x/admin", b"/admin"),
        (b"//x", b"/"),
        (b"/\\x/admin", b"/admin"),
        (b"/\\/x\\admin", b"/admin"),
        (b"/%2fx/admin", b"/admin"),
        (b"/%5cx/admin", b"/admin"),
        (b"/%252fx%2fadmin", b"/admin"),
        (b"//x/y/../admin", b"/admin"),
        (b"//%41dmin/x", b"/x"),
        (b"/a/..//x/admin", b"/admin"),
    ],
)
def test_every_way_to_read_a_path_is_found(paths: ModuleType, path: bytes, reading: bytes) -> None:
    found = paths.readings(path)
    assert found[0] == path
    assert reading in found


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"admin", "does not begin"),
        (b"", "does not begin"),
        (b"*", "does not begin"),
        (b"/%", "percent"),
        (b"/%4", "percent"),
        (b"/%zz", "percent"),
        (b"/%u002f", "percent"),
        (b"/a%00", "control"),
        (b"/a%0d%0aX:y", "control"),
        (b"/a%7f", "control"),
        (b"/a%2500", "control"),
        (b"/a%c0%af", "overlong"),
        (b"/a%c0%ae%c0%ae/", "overlong"),
        (b"/a%e0%80%af", "overlong"),
        (b"/a%f0%80%80%af", "overlong"),
        (b"/a\xc0\xaf", "overlong"),
        (b"/..", "climbs"),
        (b"/../admin", "climbs"),
        (b"/..;/admin", "climbs"),
        (b"/%2e%2e/admin", "climbs"),
        (b"/%252e%252e/admin", "climbs"),
        (b"/..%2fadmin", "climbs"),
        (b"/..\\admin", "climbs"),
        (b"/..%255cadmin", "climbs"),
        (b"/a/../../b", "climbs"),
    ],
)
def test_what_no_honest_client_sends_is_refused(paths: ModuleType, path: bytes, why: str) -> None:
    with pytest.raises(paths.DoubtfulPath, match=why):
        paths.readings(path)
    with pytest.raises(paths.DoubtfulPath, match=why):
        paths.Visibility().hidden(path)
    with pytest.raises(paths.DoubtfulPath, match=why):
        paths.refuse_doubtful(path)


def test_where_no_rule_depends_on_it_many_readings_are_no_fault(paths: ModuleType) -> None:
    unit = b"/.%c4%b0;\\//.%c5%bf\\/x/..%c4%b0"
    for path in (b"/a;b/%252e%252e;c//./d\\e%25252fx%253by/../%3fz%2523" * 4, b"/x" + unit * 250):
        paths.refuse_doubtful(path)
        with pytest.raises(paths.DoubtfulPath, match="too many"):
            paths.readings(path)


def test_the_number_of_readings_is_bounded(paths: ModuleType) -> None:
    path = b"/a;b/%252e%252e;c//./d\\e%25252fx%253by/../%3fz%2523" * 4
    with pytest.raises(paths.DoubtfulPath, match="too many"):
        paths.readings(path)


def test_the_bytes_of_the_readings_are_bounded(paths: ModuleType) -> None:
    """Each reading is looked at, and the longest paths may have many."""
    unit = b"/.%c4%b0;\\//.%c5%bf\\/x/..%c4%b0"
    assert len(paths.readings(b"/x/%61;a//" + unit)) > 20
    with pytest.raises(paths.DoubtfulPath, match="too many ways for its length"):
        paths.readings(b"/x/%61;a//" + unit * 250)
    assert len(paths.readings(b"/x/%61;b" + b"x" * 8000)) == 4


@pytest.mark.parametrize(
    "path", [b"/a%20b", b"/a;jsessionid=1.node1", b"/a%2Fb", b"/x//y", b"/%E2%82%AC", b"/a%25b"]
)
def test_one_oddity_makes_few_readings(paths: ModuleType, path: bytes) -> None:
    assert len(paths.readings(path)) <= 4


BYPASSES = [
    b"/admin",
    b"/admin/",
    b"/admin/x",
    b"/ADMIN",
    b"/Admin/x",
    b"/%61dmin",
    b"/%61%64%6d%69%6e",
    b"/%41DMIN",
    b"/%2561dmin",
    b"//admin",
    b"///admin//",
    b"/./admin",
    b"/%2e/admin",
    b"/%252e/admin",
    b"/x/../admin",
    b"/x/%2e%2e/admin",
    b"/x/.%2e/admin",
    b"/x/%252e%252e/admin",
    b"/x/..;/admin",
    b"/x/..;a=b/admin",
    b"/x/%2e%2e;/admin",
    b"/x/..%3b/admin",
    b"/x/..%3ba/admin",
    b"/admin;x",
    b"/admin;x=1/y",
    b"/admin%3bx",
    b"/admin%253bx",
    b"/;x/admin",
    b"/;/admin",
    b"/.;/admin",
    b"/x;/../admin",
    b"/x%2f..%2fadmin",
    b"/x/..%2fadmin",
    b"/x/..%252fadmin",
    b"/%2fadmin",
    b"/admin%2f",
    b"/admin%2fx",
    b"/admin%252fx",
    b"/\\admin",
    b"/admin\\x",
    b"/admin%5cx",
    b"/x\\..\\admin",
    b"/x/..\\admin",
    b"/x%5c..%5cadmin",
    b"/x%255c..%255cadmin",
    b"/admin%3f",
    b"/admin%3fx=1",
    b"/admin%23",
    b"/admin/../realms/x",
    b"/admin/..",
    b"/realms/../admin",
    b"/adm%C4%B1n/../admin",
    b"/t/x/admin",
    b"/t/x/admin/y",
    b"/T/x/Admin",
    b"/t/x/o/admin",
    b"/t/x/o/y/admin",
    b"/o/admin",
    b"/o/y/admin",
    b"/o/y/t/x/admin",
    b"/t/%78/admin",
    b"/t/x/%61dmin",
    b"//t/x/admin",
    b"/t//x/admin",
    b"/t/x//admin",
    b"/t;a/x;b/admin",
    b"/t/x/../x/admin",
    b"/%74/x/admin",
    b"/t%2fx%2fadmin",
    b"/o/o/o/o/o/o/o/o/admin",
    b"/api/status",
    b"/api/status/x",
    b"/api;x/status",
    b"/api%2fstatus",
    b"/api/x/../status",
    b"/api//status",
    b"/t/x/api/status",
    b"//x/admin",
    b"//u@x:80/admin",
    b"//u@x:80//admin",
    b"///x/admin",
    b"/\\x/admin",
    b"/\\/x/admin",
    b"/\\x\\admin",
    b"/%2fx/admin",
    b"/%2f%2fx/admin",
    b"/%5cx/admin",
    b"/%255cx%255cadmin",
    b"//x;y/admin",
    b"//x/%61dmin",
    b"//x/y/../admin",
    b"//[::1]/api/status",
    b"//x/t/y/admin",
]


@pytest.mark.parametrize("path", BYPASSES)
def test_no_spelling_reaches_what_is_hidden(paths: ModuleType, path: bytes) -> None:
    rules = paths.Visibility(
        hide=[b"/admin", b"/api/status"], tenant_prefixes=[b"/t/*", b"/o/*", b"/o"]
    )
    assert rules.hidden(path)
    assert rules.hidden_by(path) in (b"/admin", b"/api/status")


EXTENSIONS = [
    b"/admin.json",
    b"/admin.",
    b"/api/status.json",
    b"/API/Status.JSON",
    b"/api/status.x/",
    b"/api/status.x;y=z",
    b"/api/status;y.x",
    b"/api/status%2ejson",
    b"/api/status%252ex",
    b"/api/status.a.b",
    b"/api/status.a/b",
    b"/api/st%61tus.x",
    b"/api//status.x",
    b"/t/x/api/status.x",
    b"//x/api/status.x",
]


@pytest.mark.parametrize("path", EXTENSIONS)
def test_an_extension_uncovers_nothing_where_nodes_drop_it(paths: ModuleType, path: bytes) -> None:
    rules = paths.Visibility(
        hide=[b"/admin", b"/api/status"], tenant_prefixes=[b"/t/*"], hide_extensions=True
    )
    assert rules.hidden_by(path) in (b"/admin", b"/api/status")


@pytest.mark.parametrize(
    "path", [b"/admins.json", b"/api/status2.x", b"/api.x/status", b"/x.json", b"/t.x/y/admin"]
)
def test_other_names_with_an_extension_stay_visible(paths: ModuleType, path: bytes) -> None:
    rules = paths.Visibility(
        hide=[b"/admin", b"/api/status"], tenant_prefixes=[b"/t/*"], hide_extensions=True
    )
    assert not rules.hidden(path)
    assert not paths.Visibility(hide=[b"/admin"]).hidden(b"/admin.css")


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/administrator",
        b"/adminx/y",
        b"/api",
        b"/api/",
        b"/api/status2",
        b"/x/admin",
        b"/t/admin",
        b"/t/x/y/admin",
        b"/realms/a%20b",
        b"/realms/x;y=admin",
        b"/login/%C3%A9",
        b"/a/../b",
        b"/oauth2/authorize",
    ],
)
def test_everything_else_is_visible(paths: ModuleType, path: bytes) -> None:
    rules = paths.Visibility(hide=[b"/admin", b"/api/status"], tenant_prefixes=[b"/t/*", b"/o"])
    assert not rules.hidden(path)
    assert rules.hidden_by(path) is None


def test_letters_that_fold_to_ascii_do_not_slip_through(paths: ModuleType) -> None:
    """U+017F, the long s, and U+212A, the Kelvin sign, are s and k to who ignores case; U+0130 and
    U+0131, the Turkish ones, are i to Java."""
    rules = paths.Visibility(hide=[b"/console", b"/kiosk"])
    assert rules.hidden(b"/k%C4%B1osk")
    assert rules.hidden(b"/K%C4%B0OSK")
    assert rules.hidden(b"/con%C5%BFole")
    assert rules.hidden(b"/%E2%84%AAiosk")


def test_every_letter_that_folds_to_ascii_is_folded(paths: ModuleType) -> None:
    """Programs that ignore case do it by one of these; their readings are hidden as well."""
    for code in range(128, 0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        letter = chr(code)
        for plain in {letter.casefold(), letter.lower(), letter.upper().lower()}:
            if plain.isascii():
                rules = paths.Visibility(hide=[b"/x" + plain.encode()])
                assert rules.hidden(b"/x" + letter.encode()), hex(code)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        (b"/realms/x", False),
        (b"/realms/", False),
        (b"/realms/x/../y", False),
        (b"/realms/a%20b", False),
        (b"/realms/x;y", False),
        (b"/realms", True),
        (b"/", True),
        (b"/REALMS/x", True),
        (b"/realmsx/", True),
        (b"//realms/x", True),
        (b"/x/../realms/y", True),
        (b"/realms/../x", True),
        (b"/realms/%2e%2e/x", True),
        (b"/realms/..%2fx", True),
        (b"/realms/..;/x", True),
        (b"/realms\\..\\x", True),
        (b"/realms/..%5cx", True),
        (b"/robots.txt", False),
        (b"/robots.txt/x", False),
        (b"/robots.txtx", True),
        (b"/realms/metrics", False),
        (b"/realms/hidden/x", True),
    ],
)
def test_where_paths_are_exposed_every_reading_must_be(
    paths: ModuleType, path: bytes, hidden: bool
) -> None:
    rules = paths.Visibility(hide=[b"/realms/hidden"], expose=[b"/realms/", b"/robots.txt"])
    assert rules.hidden(path) is hidden


def test_without_rules_everything_is_visible(paths: ModuleType) -> None:
    assert not paths.Visibility().hidden(b"/admin")


def test_tenants_are_stacked_a_bounded_number_of_times(paths: ModuleType) -> None:
    rules = paths.Visibility(hide=[b"/admin"], tenant_prefixes=[b"/o", b"/o/*"])
    assert rules.hidden(b"/o" * 10 + b"/admin")
    with pytest.raises(paths.DoubtfulPath, match="stacks"):
        rules.hidden(b"/o" * 4000 + b"/admin")


pieces = st.sampled_from(
    [b"/", b"a", b"admin", b"..", b".", b"%2e", b"%2f", b"%5c", b"\\", b";", b"%3b", b"%25", b"?"]
)
odd_paths = st.lists(pieces, max_size=10).map(lambda parts: b"/" + b"".join(parts))


@settings(max_examples=300, deadline=None)
@given(path=odd_paths)
@example(path=b"//\\//")
def test_readings_of_readings_are_readings(paths: ModuleType, path: bytes) -> None:
    try:
        found = paths.readings(path)
    except paths.DoubtfulPath:
        return
    assert len(found) == len(set(found)) <= paths.MAX_READINGS
    assert paths.plain(path) <= (len(found) == 1)
    # What a servlet container does: parameters out, decoded, slashes merged, dots resolved.
    text = re.sub(rb"/{2,}", b"/", unquote_to_bytes(re.sub(rb";[^/]*", b"", path)))
    resolved = posixpath.normpath(text)
    assert text in found
    assert resolved.rstrip(b"/") in {reading.rstrip(b"/") for reading in found}
    # Who takes it for a reference, with the name of a host in it.
    if path.startswith(b"//") and not path.startswith(b"///"):
        behind = b"/" + path[2:].partition(b"/")[2]
        # If it begins with further slashes, of either kind, they count as one.
        slashes = rb"^[/\\]+"
        assert re.sub(slashes, b"/", behind) in {re.sub(slashes, b"/", each) for each in found}


@settings(max_examples=300, deadline=None)
@given(path=odd_paths)
def test_a_path_is_hidden_if_one_reading_is(paths: ModuleType, path: bytes) -> None:
    rules = paths.Visibility(hide=[b"/admin"])
    try:
        expected = any(
            reading == b"/admin" or reading.startswith(b"/admin/")
            for reading in paths.readings(path)
        )
    except paths.DoubtfulPath:
        return
    assert rules.hidden(path) is expected
