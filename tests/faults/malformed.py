"""Malformed inputs: configs, flags, images, npz, idx, weights, statistics, checkpoints.

Each input goes through the function that the programs call, in this process; some go through the
programs themselves. An input must be used, or refused in one sentence, within ten seconds and one
GiB. No code in it may run.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.configs import digits
from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import load
from sngan_jax.metrics.inception_weights import convert, load_weights
from sngan_jax.metrics.reference import is_statistics, load_statistics
from sngan_jax.metrics.torch_reader import read_torch
from sngan_jax.run.config import FIELDS
from sngan_jax.run.evaluation import read_scores
from sngan_jax.run.preparation import load_data
from sngan_jax.run.restore import restore_run
from sngan_jax.run.validate import config_warnings, validate
from sngan_jax.run.workdir import make_workdir, read_config, read_metrics
from tests.faults.hostile import (
    Payload,
    bomb_png,
    damaged,
    hostile_npz,
    npz_content,
    picture,
    shared_tree,
    tensor_of_tensor,
    torch_tensor,
)
from tests.faults.runs import ROOT, Outcome, environment, straight
from tests.metrics.fake_extractor import mean_extractor

_PER_ROUND = 50
_SECONDS, _MEMORY = 10, 1 << 30
_ODD = [0, -1, 1, 2, 7, 10**6, 10**12, 2**31, 2**63, 10**30, -10**30, 0.5, -0.0, 1e308,
        float("nan"), float("inf"), "", " ", "\0", "a" * 5000, "é\u202e", "../../etc/passwd",
        "npz:", "idx:/", "folder:/proc", "folder:/dev", "npz:/dev/zero", "npz:\0",
        "folder:" + "x" * 3000, "tfds:../../x", "train[", "train[:0]", "train[1e9:]", True,
        False, None, [], (1, 2), {}, b"bytes", "1", "true", "sn", "digits", "${x}", "%s%n",
        "\n", "\ud800"]

Case = Callable[[np.random.Generator, Path], object]


class _TooLong(BaseException):
    """The alarm went off; no `except Exception` catches this."""


def malformed(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Reads fifty inputs per round; every hundredth goes through a program."""
    reference = straight(work, iterations=20)
    shutil.copytree(reference, work / "template")
    inputs, held, notes, worst = rounds * _PER_ROUND, 0, [], 0.0
    marker = work / "executed"
    _CASES["metadata"] = lambda rng, folder: _metadata(rng, folder, work / "template")
    names = list(_CASES)
    for name in names:  # so that loading and compiling, done once, do not count
        with contextlib.suppress(Exception), _quiet():
            folder = work / "warm"
            folder.mkdir()
            _CASES[name](np.random.default_rng(0), folder)
        shutil.rmtree(work / "warm", ignore_errors=True)
    bomb_png(9_000, 9_000, honest=True)  # making it takes longer than refusing it
    base = _peak()
    for n in range(inputs):
        folder = work / "case"
        folder.mkdir()
        name = "program" if n % 100 == 99 else names[n % len(names)]
        begun, problem = time.monotonic(), ""
        seed = int(rng.integers(2**31))
        try:
            with _alarm(_SECONDS if name != "program" else 120), _quiet():
                (_program if name == "program" else _CASES[name])(
                    np.random.default_rng(seed), folder)
        except UserError as error:
            if "\n" in str(error) or not str(error).strip():
                problem = f"no sentence: {str(error)[:300]!r}"
        except _TooLong:
            problem = f"not done after {_SECONDS} s"
        except Exception as error:
            problem = "".join(traceback.format_exception(error))[-1500:]
        worst = max(worst, time.monotonic() - begun) if name != "program" else worst
        if (grown := _peak() - base) > _MEMORY:
            problem, base = f"{problem} memory grew by {grown / 2**20:.0f} MiB".strip(), _peak()
        if marker.exists() or (folder / "executed").exists():
            problem += " code in it ran"
        held += not problem
        notes += [f"input {n}, {name}, seed {seed}: {problem}"] if problem else []
        shutil.rmtree(folder)
    return Outcome(inputs, held, notes, figures={
        "slowest_seconds": round(worst, 2), "memory_mib": round((_peak() - base) / 2**20)})


def torch(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Reads PyTorch files that address bytes beyond their end, never end, or run code."""
    held, notes, slowest = 0, [], 0.0
    for n in range(rounds):
        folder, problem, begun = work / f"torch-{n}", "", time.monotonic()
        folder.mkdir()
        try:
            with _alarm(_SECONDS):
                found = read_torch(_torch_file(n, rng, folder))
            if n % len(_TORCH) == len(_TORCH) - 1:
                problem = "" if len(found) == 1 else f"{len(found)} tensors"
            elif n % len(_TORCH):
                problem = f"it was read: {list(found)}"
        except UserError:
            pass
        except _TooLong:
            problem = f"not done after {_SECONDS} s"
        except Exception as error:
            problem = repr(error)[:300]
        slowest = max(slowest, time.monotonic() - begun)
        if (folder / "executed").exists():
            problem += " code in it ran"
        held += not problem
        notes += [f"round {n}: {problem}"] if problem else []
    return Outcome(rounds, held, notes, figures={"slowest_seconds": round(slowest, 2)})


_TORCH = (lambda rng: damaged(torch_tensor((4,), (1,)), rng),
          lambda rng: torch_tensor((int(rng.integers(1, 2**40)),), (0,)),
          lambda rng: tensor_of_tensor(int(rng.integers(100, 2**40)), int(rng.integers(4, 90))),
          lambda rng: b"",  # the payload
          lambda rng: shared_tree(int(rng.integers(40, 200))))


def _torch_file(n: int, rng: np.random.Generator, folder: Path) -> Path:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data.pkl", _TORCH[n % len(_TORCH)](rng) or Payload.pickled(folder))
        archive.writestr("x/data/0", bytes(16))
    (folder / "x.pth").write_bytes(out.getvalue())
    return folder / "x.pth"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _alarm(seconds: int):
    def late(*_):
        raise _TooLong

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def _quiet():
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def _config(rng: np.random.Generator, folder: Path) -> None:
    """One to three fields with odd values."""
    values = digits.get_config().to_dict()
    for name in rng.choice(list(FIELDS), int(rng.integers(1, 4)), replace=False):
        values[str(name)] = _ODD[int(rng.integers(len(_ODD)))]
    if rng.random() < 0.1:
        values[str(_ODD[int(rng.integers(len(_ODD)))])] = 1
    (folder / "config.json").write_text(json.dumps(
        {str(k): v if not isinstance(v, bytes) else str(v) for k, v in values.items()}))

    from ml_collections import ConfigDict
    config = ConfigDict({k: v for k, v in values.items() if "." not in k})
    validate(config, 1)
    list(config_warnings(config))
    load_data(config)


def _workdir_files(rng: np.random.Generator, folder: Path) -> None:
    """A workdir's text files, damaged or deeply nested."""
    deep = "[" * 100_000
    good = json.dumps(digits.get_config().to_dict())
    texts = [b"", deep.encode(), b"null", b"[1]", b'{"iteration": "x"}\n', b"\xff\xfe\0" * 9,
             damaged(good.encode(), rng), b'{"iteration": 1}\n' * 3 + b'{"iter']
    for name in ("metrics.jsonl", "scores.jsonl", "config.json"):
        (folder / name).write_bytes(texts[int(rng.integers(len(texts)))])
    read_metrics(folder)
    read_scores(folder)
    make_workdir([folder, "\0", folder / ("x" * 300), folder / "config.json" / "x"][
        int(rng.integers(4))])
    read_config(folder)


def _images(rng: np.random.Generator, folder: Path) -> None:
    """A folder of pictures, one of them damaged, a bomb, or not a regular file."""
    for n in range(3):
        ending, content = picture(rng)
        (folder / f"{n}.{ending}").write_bytes(content)
    ending, content = picture(rng)
    match int(rng.integers(8)):
        case 0:
            (folder / "x.png").write_bytes(bomb_png(*[(60_000, 60_000), (2**31 - 1, 1),
                                                       (12_000, 7_000)][int(rng.integers(3))],
                                                     honest=False))
        case 1 if rng.random() < 0.2:
            (folder / "x.png").write_bytes(bomb_png(9_000, 9_000, honest=True))
        case 2:
            (folder / "a").mkdir()
            os.mkfifo(folder / "a" / "x.png")
        case 3:
            os.symlink("/dev/zero", folder / "x.png")
        case _:
            (folder / f"x.{ending}").write_bytes(damaged(content, rng))
    load(f"folder:{folder}", image_size=8)


def _npz(rng: np.random.Generator, folder: Path) -> None:
    """A data set as .npz."""
    good = npz_content({"images": rng.integers(0, 256, (6, 8, 8), np.uint8),
                         "labels": np.arange(6) % 3}, compressed=bool(rng.random() < 0.5))
    content = damaged(good, rng) if rng.random() < 0.6 else hostile_npz(rng, folder, "images.npy")
    (folder / "x.npz").write_bytes(content)
    load(f"npz:{folder / 'x.npz'}", image_size=8)


def _idx(rng: np.random.Generator, folder: Path) -> None:
    """MNIST's files, plain or gzipped."""
    images = bytes([0, 0, 8, 3]) + struct.pack(">III", 5, 8, 8) + bytes(5 * 64)
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes(range(5))
    if rng.random() < 0.2:
        images = bytes([0, 0, 8, 3]) + struct.pack(">III", *rng.choice(
            [0, 1, 255, 2**16, 2**31, 2**32 - 1], 3)) + bytes(64)
    elif rng.random() < 0.5:
        images = damaged(images, rng)
    else:
        labels = damaged(labels, rng)
    zipped = rng.random() < 0.5
    for name, content in (("images-idx3", images), ("labels-idx1", labels)):
        content = gzip.compress(content) if zipped else content
        content = damaged(content, rng) if rng.random() < 0.3 else content
        (folder / f"train-{name}-ubyte{'.gz' if zipped else ''}").write_bytes(content)
    load(f"idx:{folder}", image_size=8)


def _weights(rng: np.random.Generator, folder: Path) -> None:
    """Inception's weights, as our .npz or a PyTorch file."""
    if rng.random() < 0.4:
        good = npz_content({"stem/conv/kernel": np.zeros((3, 3, 3, 2), np.float32)},
                            compressed=False)
        content = damaged(good, rng) if rng.random() < 0.6 else hostile_npz(
            rng, folder, "stem/conv/kernel.npy")
        (folder / "x.npz").write_bytes(content)
        load_weights(folder / "x.npz")
        return
    trees = [
        Payload.pickled(folder),
        b"\x80\x02}r\xff\xff\xff\x7f.",  # memo place 2**31
        b"\x80\x05\x96" + b"\xff" * 8,  # a bytearray of 2**64 bytes
        b"\x80\x02]q\0h\0a.",  # a list that contains itself
        b"\x80\x02}q\0X\1\0\0\0ah\0s.",  # a dictionary that contains itself
        b"\x80\x02" + b"]" * 9000 + b"a" * 8999 + b".",  # deeply nested lists
        torch_tensor((10**6, 10**6), (0, 0)), torch_tensor((4,), (1,)),
        torch_tensor((-4,), (1,)), pickle.dumps({"a": 1}, 2)]
    tree = trees[int(rng.integers(len(trees)))]
    if rng.random() < 0.4:
        tree = damaged(tree, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data.pkl", tree)
        archive.writestr("x/data/0", bytes(16))
    content = out.getvalue()
    (folder / "x.pth").write_bytes(damaged(content, rng) if rng.random() < 0.3 else content)
    convert(folder / "x.pth")


def _statistics(rng: np.random.Generator, folder: Path) -> None:
    """A file with the mean and covariance of features."""
    about = [json.dumps({"extractor": "means"}), "[" * 5000, "null", "{}", "\0"][int(
        rng.integers(5))]
    good = npz_content({"mu": np.zeros(3), "sigma": np.eye(3), "n": int(rng.choice(
        [5, -5, 2**62])), "about": about}, compressed=bool(rng.random() < 0.5))
    content = damaged(good, rng) if rng.random() < 0.6 else hostile_npz(rng, folder, "mu.npy")
    file = folder / "x.npz"
    file.write_bytes(good if rng.random() < 0.2 else content)
    is_statistics(file)
    load_statistics(file, mean_extractor())


def _metadata(rng: np.random.Generator, folder: Path, template: Path) -> None:
    """A checkpoint with changed JSON files and a manifest that matches them."""
    from sngan_jax.run.integrity import write_manifest

    shutil.copytree(template, folder / "run")
    steps = sorted((folder / "run" / "checkpoints").iterdir())
    for step in steps:
        file = step / "meta" / "metadata"
        meta = json.loads(file.read_text())
        name = str(rng.choice(list(meta)))
        meta[name] = [v for v in _ODD if not isinstance(v, bytes)][int(rng.integers(len(_ODD) - 1))]
        text = json.dumps(meta)
        file.write_text(["[" * 100_000, "null", text, text, text][int(rng.integers(5))])
        if rng.random() < 0.3:
            other = step / str(rng.choice(["_CHECKPOINT_METADATA", "state/_METADATA"]))
            other.write_bytes(damaged(other.read_bytes(), rng))
        write_manifest(step)
    restore_run(folder / "run")


_CASES: dict[str, Case] = {"config": _config, "files": _workdir_files, "images": _images,
                           "npz": _npz, "idx": _idx, "weights": _weights,
                           "statistics": _statistics}


def _program(rng: np.random.Generator, folder: Path) -> None:
    """Wrong flags, given to the real programs."""
    value = str(_ODD[int(rng.integers(len(_ODD)))]).replace("\0", "").replace("\ud800", "")
    field = str(rng.choice(list(FIELDS)))
    config = "--config=experiments/configs/digits.py"
    arguments = [
        ["train", config, f"--workdir={folder}/run", f"--config.{field}x={value}"],
        ["train", config, f"--workdir={folder}/run", "--config.iterations=1",
         "--config.dataset=npz:" + value],
        ["train", config + ":" + (value or "x"), f"--workdir={folder}/run"],
        ["train", f"--config={value or 'x'}", f"--workdir={folder}/run"],
        ["train", config, "--workdir=" + folder.as_posix() + "/" + "y" * 300],
        ["sample", f"--workdir={folder}"], ["sample", f"--workdir={folder}", "--num=" + value],
        ["evaluate", f"--images=npz:{value or 'x'}", f"--against={value or 'x'}"],
    ][int(rng.integers(8))]
    done = subprocess.run([sys.executable, "-m", f"experiments.{arguments[0]}", *arguments[1:]],
                          cwd=ROOT, env=environment(), text=True, capture_output=True, timeout=100)
    if "Traceback" in done.stderr or done.returncode not in (1, 2):
        raise RuntimeError(f"{arguments}: status {done.returncode}: {done.stderr[-800:]}")
