"""./cytoloom models: listed, added, verified, fetched, and what is said where that fails."""

import json
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cytoloom import models as known
from launcher import models
from launcher.host import Failure

ENTRIES = {
    "shipped": {"family": "stardist", "folder": "assets/models/stardist_nuclei"},
    "zipped": {"family": "stardist", "url": "{}/star.zip"},
    "single": {"family": "cellpose3", "url": "{}/single", "sha256": "0" * 64},
    "gone": {"family": "cellpose", "url": "{}/gone"},
}


@pytest.fixture
def server(tmp_path):
    """Serve files from a folder; gives its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", folder
    http.shutdown()
    http.server_close()


@pytest.fixture
def catalogue(server, tmp_path, monkeypatch):
    """A list of models on that server, and an empty cache; gives its models' folder."""
    address, _ = server
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path / "cache"))

    def entries():
        found = json.loads(json.dumps(ENTRIES).replace("{}", address))
        for record in known.models_folder().glob("*.json"):
            found.setdefault(record.stem, known.record_of(record.stem))
        return found

    monkeypatch.setattr(models, "catalogue", entries)
    return known.models_folder()


def network(path, parameter=b"downsample"):
    """Write a file that looks like a network."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"}" + parameter)
    return path


def test_an_archive_is_fetched_unpacked_noted_and_found(server, catalogue, capsys):
    with zipfile.ZipFile(server[1] / "star.zip", "w") as archive:
        archive.writestr("star/config.json", '{"n_rays": 32}')
        archive.writestr("star/weights_best.h5", b"w")
    assert models.main(["fetch", "zipped"]) == 0
    assert "no checksum was published" in capsys.readouterr().err
    record = known.record_of("zipped")
    assert sorted(record["files"]) == ["config.json", "weights_best.h5"]
    assert record["source"].endswith("/star.zip")
    assert (catalogue / "zipped" / "config.json").is_file()
    assert models.main(["verify", "zipped"]) == 0
    (catalogue / "zipped" / "weights_best.h5").write_bytes(b"v")
    assert models.main(["verify"]) == 65
    assert "zipped: damaged" in capsys.readouterr().out
    assert models.main(["fetch", "zipped"]) == 0  # again, since it is damaged
    assert models.main(["verify", "zipped"]) == 0


def test_what_is_not_the_released_file_is_not_kept(server, catalogue):
    network(server[1] / "single")
    with pytest.raises(Failure, match="not the released file") as failure:
        models.main(["fetch", "single"])
    assert failure.value.code == 65
    assert not list(catalogue.glob("*single*"))


def test_a_failed_download_names_file_address_and_place(server, catalogue):
    with pytest.raises(Failure, match="gone cannot be fetched") as failure:
        models.main(["fetch", "gone"])
    said = str(failure.value)
    assert f"get {server[0]}/gone elsewhere" in said
    assert f"put it into {catalogue / 'gone'}" in said
    assert "\n" not in said
    assert failure.value.code == 75
    assert not (catalogue / "gone").exists()


def test_an_unsafe_archive_is_refused(server, catalogue, tmp_path):
    with zipfile.ZipFile(server[1] / "star.zip", "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(Failure, match="unsafe path"):
        models.main(["fetch", "zipped"])
    assert not (tmp_path / "cache" / "outside").exists()


@pytest.mark.parametrize(("parameter", "family"), [(b"downsample", "cellpose3"),
                                                   (b"W2", "cellpose")])  # fmt: skip
def test_a_network_of_ones_own_is_added_under_a_name(catalogue, tmp_path, parameter, family):
    source = network(tmp_path / "weights", parameter)
    assert models.main(["add", str(source), "--name", "mine", "--licence", "CC0"]) == 0
    assert known.weights_of("mine", (family,)).read_bytes() == source.read_bytes()
    assert known.record_of("mine")["licence"] == "CC0"
    assert known.record_of("mine")["family"] == family


@pytest.mark.parametrize(("words", "code", "message"), [
    (["fetch", "zippd"], 2, "did you mean 'zipped'"),
    (["fetch"], 2, "fetch what"),
    (["verify", "--all"], 2, "unknown option"),
    (["add", "nothing"], 66, "no such file or folder"),
    (["add", "{}/text", "--name", "shipped"], 2, "a shipped model"),
    (["add", "{}/text", "--name", "a b"], 2, "letters"),
    (["add", "{}/text", "--name", "x"], 2, "say --family"),
    (["add", "{}/text", "--name", "x", "--family", "cellpose"], 65, "not a model for cellpose"),
    (["add", "{}/text", "--name", "x", "--family", "stardits"], 2, "did you mean 'stardist'"),
    (["add", "{}/text", "--nam"], 2, "unknown option --nam"),
    (["train", "stardits"], 2, "did you mean 'stardist'"),
    (["lsit"], 2, "did you mean 'list'"),
])  # fmt: skip
def test_mistakes_in_one_line(catalogue, tmp_path, words, code, message):
    (tmp_path / "text").write_text("no network")
    words = [word.replace("{}", str(tmp_path)) for word in words]
    with pytest.raises(Failure, match=message) as failure:
        models.main(words)
    assert failure.value.code == code
    assert "\n" not in str(failure.value)


def test_the_list_as_a_user_sees_it(project):
    done = subprocess.run(
        [sys.executable, project / "cytoloom", "models", "list"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 75:
        pytest.skip("no core environment, and no network")
    assert done.returncode == 0, done.stderr
    for name in ("stardist_nuclei", "cellpose3_nuclei", "cyto3", "cpsam", "2D_versatile_fluo"):
        assert name in done.stdout
