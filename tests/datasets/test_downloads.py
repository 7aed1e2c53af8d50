"""Downloads from a server on this machine: whole, cut off, changed, and a web page instead."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from command_line import rs_otl_here
from layouts import OFFICIAL, write_official

import rs_otl.datasets
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.errors import InputError

DOWNLOADED = [name for name in OFFICIAL if CATALOGUE[name].downloads]


class _Server(ThreadingHTTPServer):
    """Answers every request with ``body``, 404 without, and promises ``promised`` bytes."""

    body = b""
    promised = 0
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.command == "GET":
            self.server.requests += 1
        self.send_response(200 if self.server.body else 404)
        self.send_header("Content-Length", str(self.server.promised or len(self.server.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.server.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with _Server(("127.0.0.1", 0), _Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def archive(tmp_path, write_image, server, monkeypatch):
    """Make an archive of a data set in its official layout, which the server has."""

    def make(name):
        folder = tmp_path / "made"
        write_official(folder, name, write_image)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            for path in sorted(folder.rglob("*.*")):
                file.write(path, path.relative_to(folder))
        body = packed.getvalue()
        dataset = getattr(rs_otl.datasets, CATALOGUE[name].dataset)
        # Two of torchgeo's classes have the file in the address, two put it there.
        whole = dataset.url.endswith(".zip")
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(dataset, "filename", "packed.zip")
        monkeypatch.setattr(dataset, "url", f"{address}packed.zip" if whole else address)
        kind = "sha256" if hasattr(dataset, "sha256") else "md5"
        monkeypatch.setattr(dataset, kind, hashlib.new(kind, body).hexdigest())
        server.body = body
        return body

    return make


@pytest.mark.parametrize("name", DOWNLOADED)
def test_every_download_is_whole_or_leaves_nothing(name, archive, server, tmp_path):
    whole, root, entry = archive(name), tmp_path / "root", CATALOGUE[name]
    for body, promised, reason in (
        (whole[: len(whole) // 2], len(whole), "cut off, or changed"),
        (whole[:-30] + bytes(30), 0, "cut off, or changed"),
        (b"<!DOCTYPE html><title>Sign in</title>", 0, "sent a web page, not an archive"),
        (b"", 0, "404"),
    ):
        server.body, server.promised = body, promised
        with pytest.raises(InputError) as failed:
            entry.open(root, download=True)
        line = str(failed.value)
        assert "\n" not in line
        address = f"http://127.0.0.1:{server.server_port}/packed.zip"
        for part in (reason, address, entry.downloads, f"into {root} by hand as packed.zip"):
            assert part in line
        assert not list(root.iterdir())
    server.body, server.promised = whole, 0
    assert len(entry.open(root, download=True)) == 2
    assert (root / "packed.zip").read_bytes() == whole
    asked = server.requests
    assert len(entry.open(root, download=True)) == 2
    assert server.requests == asked


def test_an_archive_put_there_by_hand_is_unpacked_and_a_damaged_one_is_fetched_again(
    archive, server, tmp_path
):
    whole, root, entry = archive("ucmerced"), tmp_path / "root", CATALOGUE["ucmerced"]
    root.mkdir()
    (root / "packed.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"packed\.zip could not be unpacked: .*; delete it"):
        entry.open(root)
    assert [path.name for path in root.iterdir()] == ["packed.zip"]
    assert len(entry.open(root, download=True)) == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "packed.zip").write_bytes(whole)
    server.body = b""
    assert len(entry.open(other)) == 2


@pytest.mark.parametrize("name", ["ucmerced", "ucmerced@1"])
def test_a_dry_run_unpacks_no_archive(name, archive, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "packed.zip").write_bytes(archive("ucmerced"))
    words = ("pretrain", name, "--dry-run", "--root", root, "--recipe", "quick")
    assert "UC Merced" in rs_otl_here(*words, check=2, cwd=tmp_path).stderr
    assert [path.name for path in root.iterdir()] == ["packed.zip"]


def test_what_a_killed_download_left_is_no_data_set(tmp_path, write_image):
    write_official(tmp_path / ".unpacking-abc" / "unpacked", "patternnet", write_image)
    assert CATALOGUE["patternnet"].layout(tmp_path) is None


def test_what_lies_there_already_stays(archive, tmp_path):
    archive("resisc45")
    kept = tmp_path / "root" / "NWPU-RESISC45" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    assert len(CATALOGUE["resisc45"].open(tmp_path / "root", download=True)) == 2
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(
    "command", ["pretrain ucmerced", "evaluate timm/tf_efficientnet_lite0 --on ucmerced"]
)
def test_a_command_whose_images_lack_says_the_command_that_fetches_them(command, tmp_path):
    line = rs_otl_here(*command.split(), check=2, cwd=tmp_path).stderr.splitlines()[-1]
    assert f"`rs-otl {command} --download` fetches them" in line
    assert "330 MB, licence: public domain imagery" in line
    assert not list(tmp_path.iterdir())


def test_download_fetches_what_a_command_lacks(archive, tmp_path):
    archive("ucmerced")
    small = "image_size=32 clusters=2 batch_size=2 epochs=1 encoder=test_resnet precision=float32"
    words = [word for key in small.split() for word in ("--set", key)]
    rs_otl_here("pretrain", "ucmerced", "--download", *words, check=2, cwd=tmp_path)
    assert (tmp_path / "data" / "UCMerced_LandUse").is_dir()  # of two images nothing is learnt


def test_a_transfer_on_an_empty_machine_says_both_commands(tmp_path):
    words = ["transfer", "--from", "patternnet", "--to", "ucmerced"]
    line = rs_otl_here(*words, check=2, cwd=tmp_path).stderr.splitlines()[-1]
    assert "first `rs-otl pretrain patternnet --download`" in line
    assert "then `rs-otl transfer --from patternnet --to ucmerced --download`" in line
    words[-1] = "hmhr"
    for more in ([], ["--download"]):
        line = rs_otl_here(*words, *more, check=2, cwd=tmp_path).stderr.splitlines()[-1]
        assert "Clone github.com/leeguandong" in line
    assert not list(tmp_path.iterdir())


def test_a_question_on_a_terminal_is_asked_and_answered(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    import typer

    from rs_otl.cli import fetching

    asked = []
    monkeypatch.setattr(fetching.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda text, err: bool(asked.append(text)))
    with pytest.raises(InputError, match="no images of PatternNet"):
        fetching.ensure_images("patternnet", tmp_path, download=False)
    for part in ("1.4 GB", "licence: none stated", str(tmp_path)):
        assert part in asked[0]
