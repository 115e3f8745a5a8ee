"""Names of classes from folders and TFDS files, and lookup of a class by name."""

import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.data.class_names import class_names, class_number


def test_of_a_folder(tmp_path):
    for name in ("dogs", "cats", ".hidden"):
        (tmp_path / name).mkdir()
    assert class_names(f"folder:{tmp_path}", 2) == ("cats", "dogs")
    assert class_names(f"folder:{tmp_path}") == ("cats", "dogs")
    assert class_names(f"folder:{tmp_path}", 3) == ()
    assert class_names(f"folder:{tmp_path}/gone", 2) == ()
    assert class_names("digits", 10) == ()


def test_of_a_prepared_set(tmp_path):
    folder = tmp_path / "pets" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "label.labels.txt").write_text("cat\ndog\n")
    (folder / "breed.labels.txt").write_text("a\nb\nc\n")
    assert class_names("tfds:pets", 2, str(tmp_path)) == ("cat", "dog")
    assert class_names("tfds:pets", 4, str(tmp_path)) == ()
    assert class_names("tfds:pets", data_dir=str(tmp_path)) == ()  # which of the two?
    assert class_names("tfds:none", 2, str(tmp_path)) == ()


def test_a_class_by_name_or_number():
    names = ("cats", "dogs", "0")
    assert [class_number(word, names, 3, "label") for word in ("dogs", " cats", "1", "0")] == [
        1, 0, 1, 2]
    assert class_number("2", (), 3, "label") == 2
    with pytest.raises(UserError, match="--morph is birds, but the classes of this model are 0 to "
                                        "2, called cats, dogs, 0"):
        class_number("birds", names, 3, "morph")
    with pytest.raises(UserError, match="this model is unconditional: leave the flag out"):
        class_number("0", (), 0, "label")
