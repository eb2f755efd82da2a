"""Files from a server of this machine: one per address, and only whole ones."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils.downloads import fetch, place_of

CONTENT = {"/one/model.safetensors": b"first", "/two/model.safetensors": b"second", "/cut/model.safetensors": b"half"}
DIGEST = hashlib.sha256(b"first").hexdigest()[:8]


class Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"first" if "net-" in self.path else CONTENT[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) * (2 if "cut" in self.path else 1)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_addresses_whose_files_have_one_name_have_files_of_their_own(server: str) -> None:
    for _ in range(2):  # downloaded, then found
        assert fetch(f"{server}/one/model.safetensors").read_bytes() == b"first"
        assert fetch(f"{server}/two/model.safetensors").read_bytes() == b"second"
    assert fetch(f"{server}/one/model.safetensors").suffix == ".safetensors"


def test_what_ends_early_is_not_kept(server: str) -> None:
    address = f"{server}/cut/model.safetensors"
    with pytest.raises(OSError, match=r"cannot be downloaded .*: download it elsewhere and put it there as") as caught:
        fetch(address)
    assert str(place_of(address)) in str(caught.value)
    assert not list(place_of(address).parent.iterdir())


def test_a_date_in_a_name_is_no_digest(server: str) -> None:
    assert fetch(f"{server}/net-20240115.pth").read_bytes() == b"first"
    assert place_of(f"{server}/net-20240115.pth") != place_of(f"{server}/other/net-20240115.pth")
    for name in ("vgg13-19584684.pth", "vit_h_14_swag-80465313.pth"):  # torchvision's, whose digests have no letter
        assert place_of(f"{server}/{name}").name == name


def test_a_digest_in_a_name_is_verified_and_the_name_kept(server: str) -> None:
    assert fetch(f"{server}/net-{DIGEST}.pth").name == f"net-{DIGEST}.pth"
    with pytest.raises(OSError, match="invalid hash value"):
        fetch(f"{server}/net-00000000.pth")
    assert len(list(place_of(f"{server}/net-{DIGEST}.pth").parent.iterdir())) == 1
