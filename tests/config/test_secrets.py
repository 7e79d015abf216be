"""Secrets as their files hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.config.secrets import MAX_SECRET, read_secret


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", b"s3cret"),
        (b"s3cret\n", b"s3cret"),
        (b"s3cret\r\n", b"s3cret"),
        (b" two words \n", b" two words "),
        (b"caf\xc3\xa9\n", b"caf\xc3\xa9"),
        (b"x" * MAX_SECRET, b"x" * MAX_SECRET),
    ],
)
def test_a_newline_at_the_end_is_no_part_of_it(
    content: bytes, secret: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert read_secret(str(file)) == secret


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hidden\n\n", "several lines"),
        (b"hidden\nhidden", "several lines"),
        (b"hid\x00den", "control characters"),
        (b"x" * (MAX_SECRET + 1), "more than"),
    ],
)
def test_what_no_node_could_be_given(content: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=problem) as refused:
        read_secret(str(file))
    assert str(file) in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_secret(str(tmp_path / "secret"))
