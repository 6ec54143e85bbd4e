import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossfield.errors import CorruptError, RunError
from crossfield.files import (
    MANIFEST,
    RunLock,
    append_line,
    atomic_path,
    confined,
    has_checksum,
    is_ours,
    make_folder,
    mark,
    one_state,
    read_json,
    read_lines,
    read_manifest,
    rewrite_about,
    sha256_of,
    typed,
    write_bytes,
    write_json,
    write_manifest,
)


def seal(folder: Path) -> Path:
    write_bytes(folder / "a.bin", b"hello")
    write_bytes(folder / "sub" / "b.bin", b"world")
    write_manifest(folder, "store", names=["a.bin", "sub/b.bin"], about={"rows": 2})
    return folder


def test_a_folder_is_ours_by_its_manifest_however_damaged_or_by_its_mark(tmp_path: Path) -> None:
    assert not is_ours(tmp_path, "store")
    mark(tmp_path / "new", "store")
    assert is_ours(tmp_path / "new", "store") and not is_ours(tmp_path / "new", "run")
    mark(tmp_path / "new", "")
    assert not is_ours(tmp_path / "new", "store")
    seal(tmp_path)
    (tmp_path / "a.bin").unlink()
    assert is_ours(tmp_path, "store") and not is_ours(tmp_path, "run")
    (tmp_path / MANIFEST).write_bytes((tmp_path / MANIFEST).read_bytes()[:60])
    assert is_ours(tmp_path, "store"), "what a full disk left of it"
    (tmp_path / MANIFEST).write_text('["a web page has one too"]')
    assert not is_ours(tmp_path, "store")


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    write_bytes(tmp_path / "abc", b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_checksums_of_three_kinds(tmp_path: Path) -> None:
    write_bytes(tmp_path / "abc", b"abc")
    known = [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "git:f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f",  # printf abc | git hash-object --stdin
    ]
    assert all(has_checksum(tmp_path / "abc", one) for one in known)
    write_bytes(tmp_path / "abc", b"abd")
    assert not any(has_checksum(tmp_path / "abc", one) for one in known)


def test_json_round_trip_and_its_errors(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"é": [1, 2.5, None]}
    write_bytes(tmp_path / "b.json", b"{")
    with pytest.raises(CorruptError, match=r"b\.json is not JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(CorruptError, match=r"c\.json is missing"):
        read_json(tmp_path / "c.json")


def test_manifest_returns_what_it_was_told(tmp_path: Path) -> None:
    assert read_manifest(seal(tmp_path), "store") == {"rows": 2}


def test_what_a_folder_says_is_changed_without_sealing_its_files_again(tmp_path: Path) -> None:
    rewrite_about(seal(tmp_path), "store", {"rows": 3})
    assert read_manifest(tmp_path, "store") == {"rows": 3}
    write_bytes(tmp_path / "a.bin", b"Hello")
    rewrite_about(tmp_path, "store", {"rows": 4})
    with pytest.raises(CorruptError, match=r"a\.bin was changed"):
        read_manifest(tmp_path, "store")
    with pytest.raises(CorruptError, match="is a Crossfield store, not a run"):
        rewrite_about(tmp_path, "run", {})


@pytest.mark.parametrize("name", ["a.bin", "sub/b.bin"])
def test_every_single_bit_flip_is_found(tmp_path: Path, name: str) -> None:
    content = (seal(tmp_path) / name).read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(CorruptError, match="changed after it was written"):
            read_manifest(tmp_path, "store")


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    path = seal(tmp_path) / "manifest.json"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        if json_or_none(path) == json.loads(content):
            continue  # a space became another white space: the same JSON
        with pytest.raises(CorruptError):
            read_manifest(tmp_path, "store")


def json_or_none(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def test_manifest_names_what_is_missing_truncated_or_foreign(tmp_path: Path) -> None:
    seal(tmp_path)
    with pytest.raises(CorruptError, match="is a Crossfield store, not a run"):
        read_manifest(tmp_path, "run")
    (tmp_path / "a.bin").write_bytes(b"hell")
    with pytest.raises(CorruptError, match="4 bytes instead of 5"):
        read_manifest(tmp_path, "store")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(CorruptError, match=r"a\.bin is missing"):
        read_manifest(tmp_path, "store")
    with pytest.raises(CorruptError, match="not a Crossfield store"):
        read_manifest(tmp_path / "sub", "store")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_paths_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorruptError, match="leads out of"):
        confined(tmp_path, name)


def test_what_is_read_around_a_change_is_of_no_use(tmp_path: Path) -> None:
    seal(tmp_path)
    with one_state(tmp_path):
        read_manifest(tmp_path, "store")
    with pytest.raises(RunError, match="written anew while it was read"), one_state(tmp_path):
        (tmp_path / MANIFEST).unlink()
    with pytest.raises(RunError, match="written anew while it was read"), one_state(tmp_path):
        seal(tmp_path)
        raise CorruptError("read in between")
    with pytest.raises(RunError, match="written anew while it was read"), one_state(tmp_path):
        seal(tmp_path)  # the same again, and who knows what in between
    with pytest.raises(CorruptError, match="damaged"), one_state(tmp_path):
        raise CorruptError("damaged")
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(RunError, match="written anew while it was read"), one_state(tmp_path):
        seal(tmp_path)
        read_manifest(tmp_path, "store")
        (tmp_path / MANIFEST).unlink()  # a second writing begins before the first is read
        raise CorruptError("a file is missing")
    with pytest.raises(CorruptError, match="it has no"), one_state(tmp_path):
        read_manifest(tmp_path, "store")


def test_stored_values_are_what_they_were_or_refused() -> None:
    @dataclass
    class Place:
        step: int
        seconds: float = 0.0

    assert typed(Place, {"step": 3, "seconds": 1}) == Place(3, 1.0)
    assert typed(float | None, None) is None
    for values, message in (({}, "step"), ({"step": "x"}, "step of what was stored is 'x'"), ([], "dictionary")):
        with pytest.raises(CorruptError, match=message):
            typed(Place, values)


def test_json_without_a_number_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"seconds": NaN}')
    with pytest.raises(CorruptError, match="NaN is no JSON"):
        read_json(tmp_path / "run.json")


def test_lines_round_trip_and_forgive_only_a_cut_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, {"step": 1, "name": "ü"})
    with path.open("a") as file:
        file.write('{"step": 1, "na')
    append_line(path, {"step": 2})
    assert read_lines(path) == [{"step": 1, "name": "ü"}, {"step": 2}]
    with path.open("a") as file:
        file.write('{"step": 3, "cr')
    assert len(read_lines(path)) == 2
    path.write_text(path.read_text().replace('"step": 1', '"step": 7'))
    with pytest.raises(CorruptError, match="line 1"):
        read_lines(path)


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        f"from crossfield.files import RunLock; from pathlib import Path; RunLock(Path({str(tmp_path)!r})).__enter__()"
    )
    with RunLock(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "in use by another process" in done.stderr
        with pytest.raises(RunError):
            RunLock(tmp_path).__enter__()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with RunLock(tmp_path):
        pass


def test_a_lock_takes_the_folder_that_it_made_away_where_nothing_came_of_it(tmp_path: Path) -> None:
    with RunLock(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path / "run"):
        (tmp_path / "run" / "model").touch()
    with RunLock(tmp_path / "run"):
        (tmp_path / "run" / "model").unlink()
    assert (tmp_path / "run").is_dir()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b") and not make_folder(tmp_path / "a")
    (tmp_path / "file").touch()
    for place, reason in (("file", "a file has that name"), ("file/run", "Not a directory")):
        with pytest.raises(RunError, match=rf"cannot make the folder .*{place}: {reason}; name another one"):
            make_folder(tmp_path / place)
        with pytest.raises(RunError, match="cannot make the folder"):
            RunLock(tmp_path / place).__enter__()
