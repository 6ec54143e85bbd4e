import io
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crossfield.data.options import DataConfig
from crossfield.data.public import download
from crossfield.data.public.archive import fetch
from crossfield.data.public.record import Archive, PublicData, PublicSet
from crossfield.errors import CorruptError, DataError

ROWS = b"1,30\n0,40\n"
Serve = Callable[[bytes], str]


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def never_read(folder: Path) -> PublicData:
    raise AssertionError


def made_up(url: str, *, name: str = "rows.csv", checksum: str = "", **archive: Any) -> PublicSet:
    return PublicSet(
        name="made-up",
        about="two rows",
        terms="Be kind.",
        address="https://example.org",
        files={name: checksum or sha256(ROWS).hexdigest()},
        options=DataConfig(),
        read=never_read,
        archive=Archive(url=url, members={name: "set/rows.csv"}, **archive),
    )


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve some bytes on the loopback interface; gives their address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    contents: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/silent.zip":
                time.sleep(1.0)
                return
            content = contents.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def add(content: bytes) -> str:
        contents["/set.zip"] = content
        return f"http://127.0.0.1:{server.server_port}/set.zip"

    yield add
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetches_checks_and_places_the_files(serve: Serve, tmp_path: Path) -> None:
    content = zipped(**{"set__rows.csv": ROWS, "set__other.txt": b"not wanted"})
    one = made_up(serve(content), sha256=sha256(content).hexdigest())
    assert fetch(one, accept_terms=True, folder=tmp_path / "new") == (tmp_path / "new" / "rows.csv",)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.csv"]
    assert (tmp_path / "new" / "rows.csv").read_bytes() == ROWS


def test_download_by_name_writes_into_the_data_folder(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import crossfield.data.public as package

    url = serve(zipped(**{"set__rows.csv": ROWS}))
    monkeypatch.setenv("CROSSFIELD_DATA", str(tmp_path))
    monkeypatch.setitem(package.PUBLIC, "made-up", made_up(url))
    assert download("made-up", accept_terms=True) == (tmp_path / "made-up" / "rows.csv",)


def test_members_are_cleaned_before_they_are_checked(serve: Serve, tmp_path: Path) -> None:
    one = made_up(serve(zipped(**{"set__rows.csv": b"|comment\n" + ROWS})), clean=lambda content: content[9:])
    fetch(one, accept_terms=True, folder=tmp_path)
    assert (tmp_path / "rows.csv").read_bytes() == ROWS


def test_nothing_is_fetched_before_the_terms_are_accepted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Be kind"):
        fetch(made_up("http://127.0.0.1:1/set.zip"), accept_terms=False, folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_wrong_checksum_is_refused_and_leaves_what_was_there(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("mine")
    content = zipped(**{"set__rows.csv": b"9,9\n"})
    with pytest.raises(DataError, match=r"rows\.csv in http.* has SHA-256 [0-9a-f]{64}, expected .*nothing was kept"):
        fetch(made_up(serve(content)), accept_terms=True, folder=tmp_path)
    with pytest.raises(DataError, match=r"set\.zip has SHA-256 [0-9a-f]{64}, expected 00"):
        fetch(made_up(serve(content), sha256="00"), accept_terms=True, folder=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("rows.csv", "mine")]


def test_an_archive_cannot_write_outside_the_folder(serve: Serve, tmp_path: Path) -> None:
    evil = zipped(**{"..__evil.txt": b"out", "__etc__evil": b"out", "set__rows.csv": ROWS})
    fetch(made_up(serve(evil)), accept_terms=True, folder=tmp_path / "in")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "rows.csv"]
    with pytest.raises(CorruptError, match="leads out of"):
        fetch(made_up(serve(evil), name="../evil.csv"), accept_terms=True, folder=tmp_path / "in")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "rows.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(other=b""), "holds no set/rows.csv"),
        (b"<html>moved</html>", "did not send a whole zip file"),
        (zipped(**{"set__rows.csv": ROWS})[:-30], "did not send a whole zip file"),
    ],
)
def test_what_is_no_such_archive_is_refused(serve: Serve, tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fetch(made_up(serve(content)), accept_terms=True, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_too_large_or_too_slow_is_refused(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(zipped(**{"set__rows.csv": ROWS * 100}))
    monkeypatch.setattr("crossfield.data.public.archive.MAX_BYTES", 900)
    with pytest.raises(DataError, match="sends more than 900 bytes"):
        fetch(made_up(url), accept_terms=True, folder=tmp_path)
    monkeypatch.setattr("crossfield.data.public.archive.MAX_BYTES", 1 << 20)
    monkeypatch.setattr("crossfield.data.public.archive.TOTAL_SECONDS", -1)
    with pytest.raises(DataError, match="took longer than -1 seconds"):
        fetch(made_up(url), accept_terms=True, folder=tmp_path)


def test_a_small_archive_that_unpacks_too_large_is_refused(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/rows.csv", b"0" * 100_000)
    monkeypatch.setattr("crossfield.data.public.archive.MAX_BYTES", 10_000)
    with pytest.raises(DataError, match="unpacks to more than 10,000 bytes"):
        fetch(made_up(serve(buffer.getvalue())), accept_terms=True, folder=tmp_path)


def test_no_network_and_a_silent_server_say_how_to_go_on_by_hand(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(b"")
    with pytest.raises(DataError, match=r"could not fetch .*404.*get it from https://example\.org by hand"):
        fetch(made_up(url.replace("set.zip", "gone.zip")), accept_terms=True, folder=tmp_path)
    monkeypatch.setattr("crossfield.data.public.archive.SILENCE_SECONDS", 0.05)
    with pytest.raises(DataError, match=r"could not fetch .*timed out"):
        fetch(made_up(url.replace("set.zip", "silent.zip")), accept_terms=True, folder=tmp_path)
    with pytest.raises(DataError, match=r"could not fetch .*refused"):
        fetch(made_up("http://127.0.0.1:1/set.zip"), accept_terms=True, folder=tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to .*set CROSSFIELD_DATA to another folder"):
        fetch(made_up("http://127.0.0.1:1/set.zip"), accept_terms=True, folder=tmp_path / "file" / "in")
