"""Files appear under their name whole or not at all, whoever else writes at the same time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from chainrule.base.whole_files import (
    check_writable,
    part_prefix,
    whole_file,
    whole_folder,
    would_replace,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def write(path, data):
    with whole_file(path) as file:
        file.write(data)


def test_many_threads_write_one_file_and_readers_see_whole_ones(tmp_path):
    path = tmp_path / "model"
    texts = [bytes([65 + i]) * 50_000 for i in range(6)]
    write(path, texts[0])
    done, wrong = threading.Event(), []

    def writing(text):
        for _ in range(30):
            write(path, text)

    def reading():
        while not done.is_set():
            if (found := path.read_bytes()) not in texts:
                wrong.append(len(found))

    writers = [threading.Thread(target=writing, args=(text,)) for text in texts]
    reader = threading.Thread(target=reading)
    reader.start()
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    done.set()
    reader.join()
    assert wrong == []
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.write("no bytes")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@posix
def test_what_a_killed_writer_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    path = tmp_path / "a"
    code = (
        "import os, sys\n"
        "from chainrule.base.whole_files import whole_file\n"
        "with whole_file(sys.argv[1]) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(part_prefix(path))
    with whole_file(path) as one:
        one.write(b"one")
        write(path, b"two")  # another writer, who finds the first one's file, and the dead one's
        assert not left.exists()
        assert path.read_bytes() == b"two"
    assert path.read_bytes() == b"one"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@posix
def test_links_are_followed_and_pipes_and_devices_written_to(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "real")
    write(tmp_path / "link", b"1")
    write(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "real").read_bytes() == b"2"

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"through")
    reader.join(10)
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)

    before = os.stat("/dev/null")
    write("/dev/null", b"gone")
    assert os.path.samestat(before, os.stat("/dev/null"))
    assert not would_replace(pipe)
    assert not would_replace("/dev/null")
    assert would_replace(tmp_path / "link")


@posix
def test_rights_are_those_of_any_new_file_or_of_the_old_one(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "new", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write(tmp_path / "new", b"")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


@pytest.mark.parametrize("name", ["n" * 250, "ä" * 120, "x"])
def test_names_as_long_as_the_system_allows(tmp_path, name):
    check_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"


def test_what_cannot_be_written_is_found_before(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (
        tmp_path,
        tmp_path / ("n" * 300),
        tmp_path / "missing" / "a",
        tmp_path / "file" / "a",
    ):
        with pytest.raises(OSError):  # noqa: PT011 - of four kinds
            check_writable(path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def fill(folder, text):
    with whole_folder(folder) as new:
        (new / "a").write_text(text)


@posix
def test_folders_are_whole_too(tmp_path):
    folder = tmp_path / "table"
    fill(folder, "1")
    with pytest.raises(ValueError, match="stop"), whole_folder(folder):
        raise ValueError("stop")
    assert (folder / "a").read_text() == "1"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from chainrule.base import whole_files\n"
        "whole_files.sync_folder = lambda folder: None\n"
        "renames = []\n"
        "rename = Path.rename\n"
        "def stop(self, target):\n"
        "    renames.append(rename(self, target))\n"
        "    os.kill(os.getpid(), 9)\n"
        "Path.rename = stop\n"
        "with whole_files.whole_folder(Path(sys.argv[1])) as new:\n"
        "    (new / 'a').write_text('half')\n"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=False)
    assert not folder.exists()  # moved aside when the writer was killed
    fill(folder, "2")
    assert (folder / "a").read_text() == "2"
    assert [each.name for each in tmp_path.iterdir()] == ["table"]


def test_two_folders_at_once(tmp_path):
    folder = tmp_path / "table"
    with whole_folder(folder) as one:
        (one / "a").write_text("one")
        fill(folder, "two")
    assert (folder / "a").read_text() == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["table"]
