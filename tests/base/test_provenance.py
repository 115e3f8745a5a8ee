"""The source code of a result."""

from sngan_jax.base import provenance


def test_the_code_version_is_of_the_source(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").write_text("a")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "base" / "provenance.py"))
    before = provenance.code_version()
    assert before == provenance.code_version()
    (tmp_path / "__init__.py").write_text("b")
    assert provenance.code_version() != before
