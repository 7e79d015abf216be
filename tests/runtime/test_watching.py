"""A change of a file is noticed once it has come to rest, however it was made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbproxy.config.schema import Config
from lbproxy.runtime.watching import EVERY_S, FileWatch


class Watched:
    """A configuration with a certificate, in a folder as Kubernetes makes it, and its watch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.swap("first", file="a", cert="c", key="k")
        for name in ("file", "cert", "key"):
            (folder / name).symlink_to(f"..data/{name}")
        self.watch = FileWatch(folder / "file", self.config("cert"), 0.0)
        self.now = 0.0

    def config(self, *certs: str) -> Config:
        pairs = [
            {"cert": str(self.folder / name), "key": str(self.folder / "key")} for name in certs
        ]
        listener = {"name": "a", "bind": "127.0.0.1:0", "tls": {"certificates": pairs}}
        return Config.model_validate(
            {
                "listeners": [listener],
                "pools": {"idp": {"nodes": [{"name": "n", "url": "http://127.0.0.1:1"}]}},
                "routes": [{"pool": "idp"}],
            },
            context={"base": self.folder},
        )

    def swap(self, name: str, **files: str) -> None:
        """Put a new folder in the place of the one before, as Kubernetes does."""
        (self.folder / f"..{name}").mkdir()
        for file, text in files.items():
            (self.folder / f"..{name}" / file).write_text(text)
        (self.folder / "..data_tmp").symlink_to(f"..{name}")
        os.rename(self.folder / "..data_tmp", self.folder / "..data")

    def look(self) -> bool:
        assert self.watch.due == self.now + EVERY_S
        self.now = self.watch.due
        return self.watch.look(self.now)

    def reload(self, *certs: str, worked: bool = True) -> None:
        self.watch.reload_begins()
        self.watch.reload_ends(self.config(*certs), worked=worked)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_nothing_is_said_while_nothing_changes(watched: Watched) -> None:
    assert not any(watched.look() for _ in range(5))


def test_what_is_written_is_left_to_come_to_rest(watched: Watched) -> None:
    for text in ("a: 1", "a: 12", "a: 123"):
        (watched.folder / "file").write_text(text)
        assert not watched.look()
    assert watched.look()
    watched.reload("cert")
    assert not watched.look()


def test_a_file_that_an_editor_puts_in_its_place(watched: Watched) -> None:
    (watched.folder / "file").rename(watched.folder / "file~")
    assert not watched.look()
    (watched.folder / "file").write_text("a")
    assert not watched.look()
    assert watched.look()


@pytest.mark.parametrize("changed", ["file", "cert", "key"])
def test_a_folder_that_kubernetes_swaps(watched: Watched, changed: str) -> None:
    files = {"file": "a", "cert": "c", "key": "k"}
    watched.swap("second", **(files | {changed: "other"}))
    assert not watched.look()
    assert watched.look()
    watched.reload("cert")
    assert not watched.look()


def test_a_reload_that_somebody_else_asked_for_is_enough(watched: Watched) -> None:
    (watched.folder / "file").write_text("other")
    watched.reload("cert")
    assert not watched.look()
    assert not watched.look()


def test_what_changes_while_it_is_read_is_read_again(watched: Watched) -> None:
    watched.watch.reload_begins()
    (watched.folder / "file").write_text("other")
    watched.watch.reload_ends(watched.config("cert"), worked=True)
    assert not watched.look()
    assert watched.look()


def test_files_that_come_and_go_with_the_configuration(watched: Watched) -> None:
    (watched.folder / "more").write_text("x")
    watched.reload("cert", "more")
    assert not watched.look()
    (watched.folder / "more").write_text("other")
    assert not watched.look()
    assert watched.look()
    watched.reload("cert")
    (watched.folder / "more").write_text("x")
    assert not any(watched.look() for _ in range(3))


def test_a_bad_file_is_read_once_and_again_if_what_was_missing_comes(watched: Watched) -> None:
    (watched.folder / "file").write_text("names new.crt")
    assert not watched.look()
    assert watched.look()
    watched.reload("cert", worked=False)
    assert not any(watched.look() for _ in range(3))
    (watched.folder / "new.crt").write_text("x")
    assert not watched.look()
    assert watched.look()
    watched.reload("cert")
    (watched.folder / "unrelated").write_text("x")
    assert not any(watched.look() for _ in range(3))
