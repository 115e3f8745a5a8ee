"""The launch scripts: their text, and runs of them in a real SLURM on this machine."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from experiments.compiler.tpus import CHIPS
from sngan_jax.base.compilation import OPTIONS
from sngan_jax.run.workdir import read_metrics
from tests.run.processes import TINY, environment

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "experiments" / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
# As on one host, where it is a compiler option.
COMBINE = " ".join(f"--{name}={value}" for name, value in OPTIONS["tpu"].items())
CLUSTER = Path(__file__).with_name("slurm_cluster.sh")


@pytest.mark.parametrize("script", [*SCRIPTS, CLUSTER], ids=lambda p: p.name)
def test_scripts_are_strict_and_bash_reads_them(script):
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash" and "set -euo pipefail" in lines
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--exclude=SC1091", script], check=True)


def test_the_tpu_vm_recipe_passes_arguments_on_whole():
    done = subprocess.run(
        [LAUNCH / "tpu_vm.sh", "--config=a.py:sn,A", "--workdir=my runs/x"], text=True,
        capture_output=True, env={**os.environ, "TPU": "t", "ZONE": "z", "DRY_RUN": "1"})
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {done.stdout}"], text=True,
                           capture_output=True).stdout.splitlines()
    assert words[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "t"]
    assert "--worker=all" in words and "--zone=z" in words
    assert f" LIBTPU_INIT_ARGS={COMBINE} python3 " in words[-1]
    assert words[-1].endswith(r"--distributed=yes --config=a.py:sn\,A --workdir=my\ runs/x")
    assert subprocess.run([LAUNCH / "tpu_vm.sh"], env={"PATH": os.environ["PATH"]},
                          capture_output=True).returncode != 0


def test_the_gke_recipe_has_one_pod_a_host():
    service, job = yaml.safe_load_all((LAUNCH / "gke_tpu.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    sides = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    (container,) = pod["containers"]
    hosts = job["spec"]["completions"]
    assert hosts == job["spec"]["parallelism"]
    chips = hosts * container["resources"]["limits"]["google.com/tpu"]
    assert chips == int(sides[0]) * int(sides[1]) <= 256 and CHIPS["v5e"].devices == 1
    assert service["metadata"]["name"] == pod["subdomain"]
    assert container["command"][1:] == ["-m", "experiments.train", "--distributed=auto"]
    assert (ROOT / container["args"][0].partition("=")[2]).is_file()
    assert {"name": "LIBTPU_INIT_ARGS", "value": COMBINE} in container["env"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    missing = [name for name in ("sbatch", "slurmctld", "slurmd", "munged")
               if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid() != 0:
        pytest.skip("a real SLURM needs root and apt-get install slurm-wlm munge; missing: "
                    + (", ".join(missing) or "root"))
    # Not below pytest's own folder, which munge may not enter.
    folder = Path("/tmp") / f"sngan_slurm_{os.getpid()}"
    variables = {**environment(1), "SLURM_CONF": str(folder / "slurm.conf"),
                 "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"}
    try:
        subprocess.run([CLUSTER, "start", folder], env=variables, check=True, timeout=60)
        yield variables
    finally:
        subprocess.run([CLUSTER, "stop", folder], env=variables, timeout=60)
        time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)


def ended(job, variables, timeout=240):
    """Waits until SLURM no longer has the job."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        left = subprocess.run(["squeue", "--noheader", f"--jobs={job}"], env=variables, text=True,
                              capture_output=True).stdout
        if not left.strip():
            return
        time.sleep(0.5)
    raise AssertionError(f"job {job} still runs: {left}")


@pytest.mark.slow
def test_slurm_runs_one_job_of_two_tasks(slurm, tmp_path):
    workdir, out = tmp_path / "run", tmp_path / "out.txt"
    done = subprocess.run(
        ["sbatch", "--parsable", "--nodes=1", "--ntasks-per-node=2", f"--output={out}",
         LAUNCH / "slurm_many_nodes.sh", *TINY, "--config.iterations=4", f"--workdir={workdir}"],
        cwd=ROOT, env=slurm, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    ended(done.stdout.strip(), slurm)
    assert "2 x cpu" in out.read_text(), out.read_text()
    rows = read_metrics(workdir)
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert "2 x cpu" in json.loads((workdir / "environment.json").read_text())["devices"]


@pytest.mark.slow
def test_slurm_runs_a_sweep_and_one_node(slurm, tmp_path):
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    tiny = [option.replace("--config.", "--set=") for option in TINY]
    command = [sys.executable, "-m", "experiments.sweep", *tiny, f"--workdir={tmp_path}/sweep",
               "--grid=learning_rate=1e-3,1e-4", "--launcher=slurm", "--slurm=time=10",
               "--set=iterations=2"]
    done = subprocess.run(command, cwd=ROOT, env=slurm, text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    for rate in ("1e-3", "1e-4"):
        folder = tmp_path / "sweep" / f"learning_rate={rate},seed=0"
        rows = read_metrics(folder)
        assert rows[-1]["iteration"] == 2
        assert rows[0]["learning_rate"] == pytest.approx(float(rate))
    again = subprocess.run(command, cwd=ROOT, env=slurm, text=True, capture_output=True)
    assert again.returncode == 0 and "2 runs, 2 of them finished" in again.stdout
    out, workdir = tmp_path / "out.txt", tmp_path / "one"
    job = subprocess.run(["sbatch", "--parsable", f"--output={out}", LAUNCH / "slurm_one_node.sh",
                          *TINY, "--config.iterations=2", f"--workdir={workdir}"], cwd=ROOT,
                         env=slurm, text=True, capture_output=True).stdout.strip()
    ended(job, slurm)
    assert [row["iteration"] for row in read_metrics(workdir)] == [1, 2], out.read_text()
