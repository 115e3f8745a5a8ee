"""Training processes of one run on this machine: starting and ending them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = (f"--config={ROOT}/experiments/configs/digits.py", "--config.generator_width=2",
        "--config.discriminator_width=2", "--config.latent_size=4", "--config.batch_size=8",
        "--config.generator_batch_size=8", "--config.n_dis=2", "--config.log_every=1",
        "--config.checkpoint_every=4", "--config.sample_every=100", "--config.num_samples=10",
        "--config.ema_decay=0")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    """Environment of a process with simulated devices, each of which needs a thread."""
    flags = [f for f in os.environ["XLA_FLAGS"].split() if "device_count" not in f]
    flags.append(f"--xla_force_host_platform_device_count={devices}")
    return {**os.environ, "XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu",
            **({"NPROC": "32"} if devices > 1 else {}),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def _before(path: Path | None, devices: int) -> dict[str, str]:
    found = environment(devices)
    return {**found, "PYTHONPATH": f"{path}{os.pathsep}{found['PYTHONPATH']}"} if path else found


def start(processes: int, devices: int, workdir: Path, *arguments: str,
          only: dict[int, tuple[str, ...]] | None = None, folders: tuple[Path, ...] = (),
          path: Path | None = None) -> list[subprocess.Popen]:
    """The processes of a run, whose output goes to files beside the workdir.

    only: further arguments of some processes. folders: their folders, if not ROOT.
    path: folder that comes first in the module search path.
    """
    port, started = free_port(), []
    for i in range(processes):
        joined = () if processes == 1 else (
            f"--coordinator=127.0.0.1:{port}", f"--num-processes={processes}", f"--process-id={i}")
        with output(workdir, i).open("w") as out:
            started.append(subprocess.Popen(
                [sys.executable, "-m", "experiments.train", *TINY, f"--workdir={workdir}", *joined,
                 *arguments, *(only or {}).get(i, ())],
                cwd=folders[i] if folders else ROOT, stdout=out, env=_before(path, devices),
                stderr=subprocess.STDOUT))
    return started


def output(workdir: Path, process: int) -> Path:
    """The file with a process's output."""
    return workdir.with_name(f"{workdir.name}.{process}.txt")


def sentence(workdir: Path, process: int) -> str:
    """The only error with which a process ended."""
    text = output(workdir, process).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    return line


def wait(started: list[subprocess.Popen], timeout: float = 240) -> list[int]:
    """Exit statuses; kills processes that take longer."""
    deadline = time.monotonic() + timeout
    try:
        return [process.wait(max(deadline - time.monotonic(), 0.1)) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def wait_for(found, what: str, timeout: float = 180, of: Sequence[subprocess.Popen] = ()):
    """Waits until `found()` is true and returns its value; fails if a process ends first."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if result := found():
            return result
        ended = [process.args for process in of if process.poll() is not None]
        assert not ended, f"{what}: ended before, {ended}"
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {timeout} s")
