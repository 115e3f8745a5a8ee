"""Programs about weights, as a person runs them: export, import, samples without a run."""

import json

import numpy as np
import pytest

from tests.programs import program
from tests.weights import chainer_networks

NAMES = [f"c{i}" for i in range(10)]


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """A folder with weights.npz of the finished run, and snapshots of the authors' networks."""
    folder = tmp_path_factory.mktemp("weights")
    done = program("experiments.export_weights", f"--workdir={finished_run}",
                   f"--out={folder}/weights.npz", f"--classes={','.join(NAMES)}")
    assert done.returncode == 0, done.stderr
    assert "generator and discriminator of iteration 4, 0." in done.stdout
    for name, arrays in (("ResNetGenerator_90.npz", chainer_networks.generator(0)),
                         ("SNResNetProjectionDiscriminator_90.npz",
                          chainer_networks.discriminator(1))):
        np.savez(folder / name, **arrays)
    return folder


def test_samples_without_a_run(folder, finished_run):
    done = program("experiments.sample", "--pretrained=weights.npz", "--label=c7", "--num=6",
                   cwd=folder, PYTHONPATH=f"{finished_run.parent}")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "weights-samples.npz") as file:
        assert file["labels"].tolist() == [7] * 6
    # The same images as of the run, whose classes have numbers.
    done = program("experiments.sample", f"--workdir={finished_run}", "--label=7", "--num=6",
                   f"--out={folder}/of_run")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "weights-samples.npz") as a, np.load(folder / "of_run.npz") as b:
        np.testing.assert_array_equal(a["images"], b["images"])


@pytest.fixture(scope="module")
def again(folder):
    """The run made from the file."""
    done = program("experiments.import_weights", "--from=sngan_jax", folder / "weights.npz",
                   f"--workdir={folder}/again")
    assert done.returncode == 0, done.stderr
    assert "generator and discriminator, resnet32, 8x8x1, 10 classes, iteration 4" in done.stdout
    return folder / "again"


def test_a_file_becomes_a_run_again(again, folder, finished_run):
    for run, out in ((again, "a"), (finished_run, "b")):
        done = program("experiments.sample", f"--workdir={run}", "--morph=1,2", "--rows=1",
                       f"--out={folder}/{out}")
        assert done.returncode == 0, done.stderr
    with np.load(folder / "a.npz") as a, np.load(folder / "b.npz") as b:
        np.testing.assert_array_equal(a["images"], b["images"])


@pytest.mark.slow
def test_it_is_audited_and_scored_as_the_run_was(again, folder, finished_run):
    audits, scores = [], []
    for run in (again, finished_run):
        done = program("experiments.audit", f"--workdir={run}", "--num=4", "--ascent-steps=0",
                       f"--out={folder}/audit")
        assert done.returncode == 0, done.stderr
        audits.append(json.loads((folder / "audit" / "audit.json").read_text())["upper_bound"])
        done = program("experiments.evaluate", f"--workdir={run}", "--num-fake=20",
                       "--extractor=classifier", "--metrics=classes", f"--scores={folder}/s.jsonl")
        assert done.returncode == 0, done.stderr
        scores.append(done.stdout.splitlines()[-1])
    assert audits[0] == audits[1] > 0 and scores[0] == scores[1]


def test_the_authors_networks_become_a_run(folder):
    files = sorted(folder.glob("*_90.npz"))
    done = program("experiments.import_weights", "--from=sngan_projection", *files,
                   f"--workdir={folder}/authors", "--dataset=digits")
    assert done.returncode == 0, done.stderr
    assert "generator and discriminator, resnet32, 32x32x3, iteration 90" in done.stdout
    done = program("experiments.sample", f"--workdir={folder}/authors", "--num=3")
    assert done.returncode == 0 and "3 samples of iteration 90" in done.stdout, done.stderr
    origin = json.loads((folder / "authors" / "weights.json").read_text())
    assert origin["source"] == "sngan_projection" and "ResNetGenerator_90" in origin["from"]


@pytest.mark.slow
def test_a_generator_alone_is_not_audited(folder):
    done = program("experiments.import_weights", "--from=sngan_projection",
                   f"--workdir={folder}/alone", folder / "ResNetGenerator_90.npz")
    assert done.returncode == 0 and "no discriminator file was given" in done.stdout, done.stderr
    assert "name them with --dataset" in done.stdout
    done = program("experiments.audit", f"--workdir={folder}/alone")
    assert done.returncode == 2 and "made from a generator's file alone" in done.stderr
    done = program("experiments.export_weights", f"--workdir={folder}/alone",
                   f"--out={folder}/alone.npz")
    assert done.returncode == 0 and "alone.npz: generator of iteration 90" in done.stdout
    done = program("experiments.export_weights", f"--workdir={folder}/alone",
                   f"--out={folder}/alone.npz", "--classes=cat,dog")
    assert done.returncode == 2
    assert "--classes has 2 names, but the model has no classes: leave the flag" in done.stderr


IMPORT, EXPORT = "experiments.import_weights", "experiments.export_weights"


@pytest.mark.parametrize("module, arguments, sentence", [
    (IMPORT, ("--from=mimicry", "none.pth", "--workdir=w"), "no file none.pth: check its path"),
    (IMPORT, ("--from=mimicry", "weights.npz", "--workdir=w"),
     "cannot be read as a PyTorch weights file"),
    (IMPORT, ("--from=sngan_projection", "weights.npz", "--workdir=w"),
     "neither a generator nor a discriminator of sngan_projection"),
    (IMPORT, ("--from=sngan_jax", "ResNetGenerator_90.npz", "--workdir=w"), "it has no 'about'"),
    (IMPORT, ("--from=sngan_jax", "weights.npz", "weights.npz", "--workdir=w"), "takes one file"),
    (IMPORT, ("--from=sngan_jax", "weights.npz", "--workdir=held"), "held already holds a run"),
    (IMPORT, ("--from=keras", "weights.npz", "--workdir=w"), "--from is 'keras'"),
    (IMPORT, ("--from=sngan_jax", "--workdir=w"), "no files are named: give the generator's"),
    (IMPORT, ("--from=mimicry", "a", "b", "c", "--workdir=w"), "3 files are named"),
    (IMPORT, ("--from=sngan_jax", "weights.npz", "--workdir=w", "--dataset=digit"),
     "--dataset: unknown data set 'digit', did you mean 'digits'?"),
    (EXPORT, ("--workdir=held", "--out=w.pth"), "--out=w.pth: the file's name must end in .npz"),
    (EXPORT, ("--workdir=none", "--out=w.npz"), "none is not the workdir of a run"),
    ("experiments.sample", ("--pretrained=cats",), "there are no weights 'cats'"),
    ("experiments.sample", ("--pretrained=weights.npz", "--label=dog"),
     "--label is dog, but the classes of this model are 0 to 9, called c0, c1,"),
    ("experiments.sample", ("--pretrained=weights.npz", "--workdir=held"), "not both"),
    ("experiments.sample", ("--num=3",), ", or --pretrained"),
    ("experiments.sample", ("--pretrained=weights.npz", "--checkpoint=4"), "needs --workdir"),
])
def test_bad_input_is_one_sentence(folder, module, arguments, sentence):
    (folder / "held").mkdir(exist_ok=True)
    (folder / "held" / "config.json").write_text("{}")
    done = program(module, *arguments, cwd=folder)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (folder / "w").exists()
