"""Hand-written run folders, like those that a sweep leaves."""

import json

from experiments.sweeps.tables import Request, open_sweep, plan_table

TINY = Request("2", "digits", "tiny", methods=("sn", "wgan_gp"), settings=("A", "C"))
BETTER_EARLIER = {30: {"fcd": 1.0, "cs": 9.0}}


def record(iteration, scores, *, seed=0, n=500, **more):
    """A line of scores.jsonl."""
    return {"scores": scores, "protocol": "free", "splits": 10, "n_score": n,
            "fake": {"iteration": iteration, "n": n, "ema": False, "bn_mode": "running", "seed": 0,
                     "training_seed": seed},
            "real": {"images": "digits", "split": "train", "n": n, "seed": 0},
            "extractor": "classifier", "checksum": "0123456789abcdef", "resize": "",
            "commit": "c0ffee", "device": "1 x cpu", "date": "2026-01-02T03:04:05+00:00",
            "while_training": True, **more}


def write_sweep(folder, request=TINY, scores=None):
    """All runs of a request, finished; scores: function from a cell to its last scores."""
    open_sweep(request, folder)
    cells = plan_table(request)
    for cell in cells:
        write_run(folder / cell.run.name, cell, (scores or scores_of)(cell))
    return cells


def scores_of(cell):
    """Scores that differ between runs."""
    n = sum(map(ord, cell.variant + cell.setting)) + 7 * cell.seed
    return {"fcd": 100 + n / 8, "cs": 1 + n / 4096, "cs_std": 0.01, "class_share": [0.5, 0.5]}


def write_run(folder, cell, scores, *, at=60, earlier=BETTER_EARLIER, **config):
    """A run saved at iteration `at` of 60, with scores there if `scores`."""
    (folder / "checkpoints" / str(at)).mkdir(parents=True, exist_ok=True)
    fields = dict(change.partition("=")[::2] for change in cell.run.changes)
    (folder / "config.json").write_text(json.dumps({
        "method": cell.run.config.partition(":")[2].partition(",")[0], "seed": cell.seed,
        "iterations": 60, "learning_rate": 1e-4, "beta1": 0.5, "beta2": 0.9,
        "n_dis": int(fields.get("n_dis", 5)), "lipschitz": float(fields.get("lipschitz", 1)),
        "last_layer_multiplier": float(fields.get("last_layer_multiplier", 1)), **config}))
    (folder / "environment.json").write_text(json.dumps({
        "commit": "beef", "devices": "1 x cpu", "cores": 2, "platform": "Linux", "date": "today"}))
    lines = [record(i, values, seed=cell.seed) for i, values in earlier.items()]
    lines += [record(at, scores, seed=cell.seed)] if scores else []
    write_scores(folder, lines)


def write_scores(folder, records):
    (folder / "scores.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def read_scores(folder):
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
