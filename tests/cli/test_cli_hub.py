"""Publishing on a hub: a local server that answers as the hub's HTTP interface does."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import timm
import torch
import yaml
from command_line import rs_otl_here
from geo_scenes import make_encoder
from huggingface_hub import constants

from rs_otl.errors import InputError
from rs_otl.export import push_to_hub
from rs_otl.models import load_encoder

TOKEN = "hf_" + "a" * 34

# The hub's client's own use of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


class _Hub(BaseHTTPRequestHandler):
    """Repositories in memory: of each its files by name."""

    repositories: ClassVar[dict] = {}
    objects: ClassVar[dict] = {}

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

    def do_GET(self):
        _, _, name = self.path.partition("?")[0].partition("/api/models/")
        name = "/".join(name.split("/")[:2])
        if "/tree/" in self.path:
            kept = self.repositories.get(name, {})
            self._answer(
                [
                    {"type": "file", "path": file, "oid": "0" * 40, "size": len(content)}
                    for file, content in kept.items()
                ]
            )
            return
        files = [{"rfilename": file} for file in self.repositories.get(name, {})]
        self._answer({"id": name, "siblings": files, "sha": "0" * 40, "tags": []})

    def do_PUT(self):
        self.objects[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_POST(self):
        body, host = self._body(), f"http://{self.headers['Host']}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "not allowed"}, 401)
        elif self.path.endswith("/repos/create"):
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            known = name in self.repositories
            self.repositories.setdefault(name, {".gitattributes": b""})
            self._answer({"url": f"{host}/{name}", "id": name}, 409 if known else 200)
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            large = (".safetensors", ".pth")
            for file in files:
                mode = "lfs" if file["path"].endswith(large) else "regular"
                file.update(uploadMode=mode, shouldIgnore=False, oid=None)
            self._answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{host}/objects/{one['oid']}"}}
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            name = self.path.partition("/api/models/")[2].partition("/commit/")[0]
            for line in body.decode().splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    content = base64.b64decode(value["content"])
                    self.repositories[name][value["path"]] = content
                elif entry["key"] == "lfsFile":
                    self.repositories[name][value["path"]] = self.objects[value["oid"]]
            self._answer({"commitUrl": f"{host}/{name}/commit/1", "commitOid": "1" * 40})
        else:
            self._answer({"valid": True} if "validate-yaml" in self.path else {}, 200)


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("hub")
    make_encoder(place / "run" / "encoder", architecture="test_resnet")
    (place / "run" / "recipe.yaml").write_text(yaml.safe_dump({"dataset": "aid", "lr": 0.0123}))
    return place


@pytest.fixture
def push(place, monkeypatch):
    def run(address, *words, check=0, token=TOKEN):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", token)
        return rs_otl_here("export", *words, cwd=place, check=check)

    return run


def test_a_run_is_published_with_its_card_and_loads_in_timm(hub, place, push, tmp_path):
    done = push(hub, "run", "--push-to-hub", "me/field")
    assert done.stdout == f"{hub}/me/field\n"
    published = _Hub.repositories["me/field"]
    for name, content in published.items():
        (tmp_path / name).write_bytes(content)
    card = published["README.md"].decode()
    assert "# field" in card
    assert 'timm.create_model("hf-hub:me/field", pretrained=True)' in card
    assert "lr: 0.0123" in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "timm"
    ours = load_encoder(place / "run")
    assert load_encoder(tmp_path).fingerprint() == ours.fingerprint()
    size = ours.config.image_size
    images = torch.rand(2, len(ours.config.spec.bands), size, size)
    with torch.no_grad():
        in_timm = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        torch.testing.assert_close(in_timm(images), ours(images))
    # Nothing is overwritten.
    again = push(hub, "run", "--push-to-hub", "me/field", check=2)
    assert "me/field holds files already (README.md): expected a new repository" in again.stderr
    assert _Hub.repositories["me/field"] == published


def test_a_directory_without_an_encoder_makes_no_repository(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for directory in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=f"{directory}: expected an encoder directory"):
            push_to_hub(directory, "me/none")
    assert "me/none" not in _Hub.repositories


def test_the_address_of_an_export_that_is_published_too_is_in_its_json(hub, push, tmp_path):
    words = ("run", "--to", tmp_path / "out", "--push-to-hub", "me/both")
    done = push(hub, *words, "--json")
    assert json.loads(done.stdout) == {
        "encoder": str(tmp_path / "out"),
        "checks": [],
        "hub": f"{hub}/me/both",
    }


def test_what_cannot_be_published_is_refused_in_one_line(hub, push):
    refused = push(hub, "run", "--push-to-hub", "me/other", token="hf_wrong", check=2)
    assert refused.stderr == (
        "rs-otl: --push-to-hub me/other: not allowed to write there; log in with `hf auth login`, "
        "or set HF_TOKEN to a token that may write\n"
    )
    away = push("http://127.0.0.1:9", "run", "--push-to-hub", "me/other", check=2)
    assert "--push-to-hub me/other: http://127.0.0.1:9 cannot be reached" in away.stderr
    wrong = push(hub, "run", "--push-to-hub", "a/b/c", check=2)
    assert "--push-to-hub a/b/c: expected OWNER/NAME" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
