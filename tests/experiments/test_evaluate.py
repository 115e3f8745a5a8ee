"""experiments.evaluate as a person runs it: of a run, of two sets of images, with bad input."""

import json
import re
import shutil
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from experiments import audit, cli, evaluate
from experiments.configs.digits import get_config
from experiments.scoring import checkpoints, sides
from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import load
from sngan_jax.metrics.inception import SIDE, InceptionV3
from sngan_jax.metrics.inception_weights import FILE
from sngan_jax.run.integrity import write_manifest
from tests.metrics.fake_extractor import mean_extractor
from tests.programs import program


@pytest.fixture(scope="module")
def place(finished_run, tmp_path_factory):
    """A folder with a copy of the finished run, images in three forms, and an empty cache."""
    folder = tmp_path_factory.mktemp("evaluate")
    digits = load("digits", image_size=8)
    np.savez(folder / "a.npz", images=digits.images[:300], labels=digits.labels[:300])
    np.savez(folder / "b.npz", images=digits.images[300:700])
    np.savez(folder / "theirs.npz", mu=np.zeros(64), sigma=np.eye(64))
    for i in range(40):
        file = folder / "pictures" / str(digits.labels[i]) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[i].repeat(3, -1)).save(file)
        (folder / "grey").mkdir(exist_ok=True)
        Image.fromarray(digits.images[i, ..., 0]).save(folder / "grey" / file.name)
    shutil.copytree(finished_run, folder / "run")
    return folder


def run(name, folder, *arguments):
    module = "tests.experiments.quick_evaluate" if name == "evaluate" else f"experiments.{name}"
    return program(module, *arguments, timeout=500, SNGAN_JAX_CACHE=folder / "cache")


def records(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_checkpoint_that_has_gone_is_left_out(place, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "chosen", lambda *_, **__: ([2, 3, 4], [2, 3, 4]))
    monkeypatch.setattr(checkpoints, "extractor_of", lambda *_: mean_extractor(
        dimensions=1, num_classes=1))
    out = place / "gone.jsonl"
    options = cli.parse(evaluate.arguments, "", "evaluate", [
        f"--workdir={place / 'run'}", "--checkpoint=each", "--num-fake=8", "--num-real=8",
        f"--scores={out}"])
    evaluate.main(options)
    assert [record["fake"]["iteration"] for record in records(out)] == [2, 4]
    assert "no checkpoint of iteration 3; it has: " in capsys.readouterr().err


def test_the_record_counts_the_images_that_stand_for_damaged_ones(finished_run, tmp_path,
                                                                  monkeypatch):
    """The record counts them in training and among the real images, cached or not."""
    monkeypatch.setenv("SNGAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoints, "extractor_of", lambda *_: mean_extractor(dimensions=1))
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(
            tmp_path / "pictures" / f"{i:02d}.png")
    for i in (3, 7):
        (tmp_path / "pictures" / f"{i:02d}.png").write_bytes(b"no image")
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({
        **config, "dataset": f"folder:{tmp_path / 'pictures'}", "on_bad_image": "skip"}))
    step = run / "checkpoints" / "4"
    meta = json.loads((step / "meta" / "metadata").read_text())
    (step / "meta" / "metadata").write_text(json.dumps({**meta, "replaced_images": 5}))
    write_manifest(step)
    out = tmp_path / "scores.jsonl"
    for _ in range(2):
        evaluate.main(cli.parse(evaluate.arguments, "", "evaluate", [
            f"--workdir={run}", "--metrics=fid", "--num-fake=8", f"--scores={out}"]))
    for record in records(out):
        assert record["fake"]["replaced_images"] == 5
        assert record["real"]["replaced_images"] == 2 and record["real"]["n"] == 12
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_audit_replaces_damaged_images_as_the_run_did(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((8, 8), 50 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    config = get_config()
    config.update({"dataset": f"folder:{tmp_path}", "on_bad_image": "skip"})
    run = SimpleNamespace(config=config, num_classes=0, channels=1, class_names=())
    real, _ = audit.real_images(run, 3, 0)
    assert np.sort(real[:, 0, 0, 0]).tolist() == [x / 128 - 1 for x in (0.5, 100.5, 100.5)]


@pytest.mark.parametrize(("program", "more", "refused"), [
    (evaluate, ("--extractor=classifier", "--metrics=fcd"), True),
    (evaluate, ("--metrics=fid", "--against=digits"), False),
    (audit, ("--num=4",), True)])
def test_labels_that_mean_others_now_are_refused(program, more, refused, place, monkeypatch,
                                                 capsys):
    def changed(run):
        raise UserError("other classes")

    monkeypatch.setattr(checkpoints if program is evaluate else program, "check_classes", changed)
    monkeypatch.setattr(checkpoints, "extractor_of", lambda *_: sys.exit("went on"))
    arguments = [f"--workdir={place / 'run'}", *more]
    if refused:
        assert cli.run(program.main, program.arguments, "", "program", arguments) == 2
        assert "other classes" in capsys.readouterr().err
    else:
        with pytest.raises(SystemExit, match="went on"):
            cli.run(program.main, program.arguments, "", "program", arguments)


def test_the_data_set_digits_is_meant_whatever_lies_in_the_folder(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert sides.resolved("digits") == ("digits", False)
    assert sides.resolved("./digits") == ("folder:digits", False)


def test_classes_are_compared_by_number_only_if_their_names_agree(place, tmp_path):
    for folder, names in (("a", "abc"), ("b", "abd"), ("flat", "")):
        for name in names or ["."]:
            (tmp_path / folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / folder / name / "1.png")
    (tmp_path / "flat" / "logs").mkdir()
    a, b, flat = (str(tmp_path / name) for name in ("a", "b", "flat"))
    assert [sides.names_of_classes(spec, None) for spec in (a, flat, f"{place}/pictures", "digits")
            ] == [("a", "b", "c"), (), (), ()]  # numbers are no names

    def check(metric, *flags):
        sides.check_same_classes([metric], "ours", ("a", "b", "c"), cli.parse(
            evaluate.arguments, "", "evaluate", flags))

    check("fcd", f"--against={b}")
    check("classes", "--workdir=run", f"--against={b}")  # the labels of the run and its data
    check("intra_fcd", f"--against={a}", f"--classifier-data={b}")
    for metric, *flags in (("intra_fcd", f"--against={b}"), ("classes", f"--against={b}"),
                           ("classes", "--workdir=run", f"--classifier-data={b}")):
        with pytest.raises(UserError, match=f"class 2 is 'c' in ours and 'd' in .*b, and {metric} "
                                            "compares classes by their number: give"):
            check(metric, *flags)


def test_a_checkpoint_that_is_saved_meanwhile_is_scored_too(place, monkeypatch):
    monkeypatch.setattr(checkpoints, "chosen", lambda *_, **__: ([2, 3], [2, 3]))
    monkeypatch.setattr(checkpoints, "extractor_of", lambda *_: mean_extractor(
        dimensions=1, num_classes=1))
    out = place / "meanwhile.jsonl"
    evaluate.main(cli.parse(evaluate.arguments, "", "evaluate", [
        f"--workdir={place / 'run'}", "--checkpoint=best", "--metrics=fid", "--num-fake=8",
        "--num-real=8", f"--scores={out}"]))
    (record,) = records(out)
    assert record["best_of"] == [2, 4] and record["fake"]["iteration"] in (2, 4)


def test_the_best_by_the_scores_of_training_only_for_the_same_question(place, monkeypatch):
    monkeypatch.setattr(checkpoints, "recorded", lambda *_: {2: 1.0, 4: 2.0})
    assert [checkpoints.chosen(place / "run", "best", ["fid"], as_in_training=same)
            for same in (True, False)] == [([2], [2, 4]), ([2, 4], [2, 4])]
    asked = []

    def chosen(*_, as_in_training):
        asked.append(as_in_training)
        sys.exit()

    monkeypatch.setattr(checkpoints, "chosen", chosen)
    for more in ((), ("--against=digits",), ("--num-fake=9",), ("--bn-mode=batch",)):
        with pytest.raises(SystemExit):
            evaluate.main(cli.parse(evaluate.arguments, "", "evaluate", [
                f"--workdir={place / 'run'}", "--checkpoint=best", "--metrics=fid", *more]))
    assert asked == [True, False, False, False]


def test_scores_that_cannot_be_recorded_are_printed(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "extractor_of", lambda *_: mean_extractor(
        dimensions=1, num_classes=1))
    monkeypatch.setattr(evaluate, "check_writable", lambda *_: None)  # the disk fills up later
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot be written .*: choose another place"):
        evaluate.main(cli.parse(evaluate.arguments, "", "evaluate", [
            f"--workdir={place / 'run'}", "--num-fake=8", "--num-real=8", "--metrics=fid",
            f"--scores={tmp_path}/folder.jsonl"]))
    assert '{"fid": ' in capsys.readouterr().out


@pytest.mark.slow
def test_each_and_the_best_checkpoint_of_a_run(place):
    out = place / "run.jsonl"
    for checkpoint, rows in (("each", 2), ("best", 1), ("4", 1)):
        done = run("evaluate", place, f"--workdir={place / 'run'}", "--extractor=classifier",
                   "--metrics=fcd,intra_fcd,classes", "--num-fake=60", "--num-real=300",
                   f"--checkpoint={checkpoint}", f"--scores={out}")
        assert done.returncode == 0, done.stderr
        assert len(re.findall(r"60 +[24] +no +running +300 of digits +train", done.stdout)) == rows
    one, two, best, last = records(out)
    assert [r["fake"]["iteration"] for r in (one, two, last)] == [2, 4, 4]
    assert best["scores"]["fcd"] == min(r["scores"]["fcd"] for r in (one, two))
    assert best["best_of"] == [2, 4] and best["best_by"] == "fcd"
    assert last["scores"] == two["scores"] and len(two["scores"]["intra_fcd_of_class"]) == 10
    assert "class_agreement" in two["scores"]


def test_two_sets_of_images(place):
    out = place / "pairs.jsonl"
    done = run("evaluate", place, f"--images={place / 'b.npz'}", f"--against={place / 'a.npz'}",
               "--extractor=classifier", "--metrics=fcd,kcd,prdc,cs", "--num-fake=200",
               f"--scores={out}", f"--save-statistics={place / 'stored.npz'}")
    assert done.returncode == 0, done.stderr
    (record,) = records(out)
    assert record["scores"]["precision"] > 0.3 and record["n_score"] == 200
    done = run("evaluate", place, f"--images={place / 'b.npz'}", f"--scores={out}",
               f"--against={place / 'stored.npz'}", "--extractor=classifier", "--num-fake=200",
               "--metrics=fcd", f"--classifier-data={place / 'a.npz'}")
    assert done.returncode == 0, done.stderr
    again = records(out)[-1]
    assert again["scores"]["fcd"] == pytest.approx(record["scores"]["fcd"], rel=1e-6)
    assert again["real"]["images"] == f"npz:{place / 'a.npz'}" and again["real"]["n"] == 300
    # Grey pictures are grey, and the only default score of statistics is the distance.
    done = run("evaluate", place, f"--images={place / 'grey'}", f"--scores={out}",
               f"--against={place / 'a.npz'}", "--extractor=classifier", "--metrics=fcd",
               f"--save-statistics={place / 'again.npz'}")
    assert done.returncode == 0, done.stderr
    done = run("evaluate", place, f"--images={place / 'again.npz'}", f"--scores={out}",
               f"--against={place / 'a.npz'}", "--extractor=classifier")
    assert done.returncode == 0, done.stderr
    assert list(records(out)[-1]["scores"]) == ["fcd"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--workdir={}/run",), r"there are no Inception weights at .*sngan get-inception"),
    (("--workdir={}/run", "--images=digits"), "either --workdir of a run or --images"),
    ((), "either --workdir"),
    (("--workdir={}/run", "--metrics=fcd"), "no metric 'fcd' with the extractor inception"),
    (("--workdir={}/run", "--protocol=papers"), "no protocol 'papers'"),
    (("--workdir={}/run", "--protocol=50k", "--num-fake=9"), "leave num_fake out, or use"),
    (("--workdir={}/run", "--num-fake=-3"), "--num-fake is -3: it must be at least 0"),
    (("--workdir={}/run", "--protocol=paper", "--extractor=classifier"), "no split 'test'"),
    (("--workdir={}/run", "--num-real=2000", "--extractor=classifier"),
     "protocol free needs 2,000 images, but digits, split 'train', has 1,797"),
    (("--workdir={}/run", "--ema=yes", "--extractor=classifier"), "kept no moving average"),
    (("--workdir={}/run", "--checkpoint=7", "--extractor=classifier"), "the iterations 2, 4"),
    (("--workdir={}/run", "--checkpoint=best", "--extractor=classifier", "--metrics=prdc"),
     "prdc is not a single number"),
    (("--workdir={}/none", "--extractor=classifier"), "not the workdir of a run"),
    (("--images=digits", "--extractor=classifier"), "--against is missing"),
    (("--images={}/b.npz", "--against={}/b.npz", "--extractor=classifier"), "labels of at least"),
    (("--images={}/b.npz", "--against={}/a.npz", "--extractor=classifier",
      "--metrics=intra_fcd"), "one of the two sets has no labels"),
    (("--images={}/b.npz", "--against={}/theirs.npz", "--extractor=classifier",
      "--classifier-data={}/a.npz", "--metrics=fcd"), "of another extractor"),
    (("--images={}/pictures", "--against={}/a.npz", "--extractor=classifier"),
     "trained on images of 8 x 8 with 1 channel, but these are 8 x 8 with 3"),
    (("--images=digits", "--save-statistics=x.txt"), r"must end in \.npz"),
    (("--workdir={}/run", "--scores={}/run/config.json"), r"name must end in \.jsonl"),
    (("--images=nope", "--against=digits", "--extractor=classifier"), "unknown data set 'nope'"),
    (("--images=digits", "--save-statistics={}/x.npz", "--metrics=is"), "computes no score"),
    (("--images={}/nothing.npz", "--against=digits", "--extractor=classifier"), "no such file"),
    (("--images=digits", "--against=digits", "--extractor=resnet"), "extractor"),
    (("--images={}/nowhere/at/all", "--against=digits", "--extractor=classifier",
      "--classifier-data=digits"), "no folder or file"),
    (("--images=digits", "--against=digits", "--convention=fid"), "convention"),
    (("--images=digits", "--against=digits", "--convention=clean-fid", "--resize=tf1"),
     "fixes how images are read and resized: leave --resize out"),
    (("--images=digits", "--against=digits", "--convention=clean-fid", "--image-size=8"),
     "leave --image-size out"),
    (("--images=digits", "--against=digits", "--convention=clean-fid", "--extractor=classifier"),
     "is for Inception"),
    (("--images=digits", "--against=digits", "--image-width=8"), "needs --image-size"),
    (("--images=digits", "--against=digits", "--alpha=grey"), "alpha"),
    (("--images=digits", "--against=digits", "--kid-subset-size=1"), "kid-subset-size"),
    (("--images=digits", "--against=digits", "--checkpoint=best"), "--checkpoint is for a run"),
    (("--images=digits", "--against=digits", "--ema=yes"), r"--ema is for a run \(--workd"),
    (("--images=digits", "--against=digits", "--bn-mode=batch"), "--bn-mode is for a run"),
    (("--workdir={}/run", "--images-split=train"), "--images-split is for --images: leave it out"),
    (("--workdir={}/run", "--extractor=classifier", "--image-size=16"),
     "--image-size=16: the classifier takes images of the run's own size only"),
    (("--workdir={}/run", "--seed=4294967296"), "4294967296: it must be at most 2147483647"),
])
def test_bad_input_is_one_sentence(place, arguments, sentence):
    done = run("evaluate", place, *(text.format(place) for text in arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(sentence, line), line


@pytest.mark.slow
def test_all_scores_by_inception_of_random_weights(place):
    cache = place / "cache"
    cache.mkdir(exist_ok=True)
    shapes = jax.eval_shape(InceptionV3(True).init, jax.random.key(0),
                            np.zeros((1, SIDE, SIDE, 3)))
    rng = np.random.default_rng(0)
    np.savez(cache / FILE, **{
        "/".join(k): (rng.normal(0, np.prod(v.shape[:-1]) ** -0.5, v.shape) if v.ndim > 1
                      else np.ones(v.shape)).astype(v.dtype)
        for k, v in flatten_dict(shapes["params"]).items()})
    out = place / "inception.jsonl"
    try:
        done = run("evaluate", place, f"--workdir={place / 'run'}", "--num-real=20",
                   "--num-fake=20", "--metrics=fid,is,kid,prdc", "--splits=2",
                   f"--scores={out}", "--batch-size=8")
        assert done.returncode == 0, done.stderr
        (record,) = records(out)
        assert record["extractor"] == "inception-2015-12-05" and record["resize"] == "tf1"
        assert set(record["scores"]) == {"fid", "is", "is_std", "kid", "kid_std", "precision",
                                         "recall", "density", "coverage"}
        assert all(np.isfinite(value) for value in record["scores"].values())
        assert "warning: an FID of 20 images" in done.stderr
        done = run("evaluate", place, f"--images={place / 'pictures'}", "--batch-size=8",
                   f"--against={place / 'b.npz'}", "--num-real=20", f"--scores={out}",
                   "--image-size=16", "--resize=half_pixel")
        assert done.returncode == 0, done.stderr
        assert records(out)[-1]["fake"]["n"] == 40
    finally:
        (cache / FILE).unlink()


@pytest.mark.parametrize(("name", "arguments", "sentence"), [
    ("compare_protocols", ("--workdir={}/run", "--rows=9"), "--rows names '9': the rows are 1"),
    ("compare_protocols", ("--workdir={}/run",), "kept no moving average"),
    ("compare_inception", ("--torchscript=none.pt", "--images=digits"),
     "PyTorch is not installed|none.pt is not a file")])
def test_bad_input_of_the_comparisons(place, name, arguments, sentence):
    done = run(name, place, *(text.format(place) for text in arguments))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(sentence, done.stderr.splitlines()[-1])
