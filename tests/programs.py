"""Programs as a person runs them, each in a fork of one process that has everything imported.

Importing JAX, Flax and Orbax takes longer than most programs run in a test. The first call of
`program` starts `python -m tests.programs`, which imports them and forks for each command. Each
fork has its own command line, folder, environment and exit status. No JAX backend exists before the
fork.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]


def program(module: str, *arguments: object, timeout: float = 300, cwd: Path = ROOT,
            **environment: object) -> subprocess.CompletedProcess[str]:
    """Output and exit status of `python -m <module> <arguments>`.

    environment: variables in addition to the tests' own. TimeoutExpired: it took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        command = [module, *map(str, arguments)]
        status = _server().run({
            "command": command, "cwd": str(cwd), "out": str(out), "err": str(err),
            "environment": {name: str(value) for name, value in environment.items()}}, timeout)
        return subprocess.CompletedProcess(command, status, out.read_text(), err.read_text())


def share_mlir_context() -> None:
    """One MLIR context for all programs that this process compiles, until its cache is cleared.

    JAX makes one for each, which is a fifth of the time that a small program takes to compile.
    """
    import jax
    from jax._src.interpreters import mlir

    if jax.__version__.startswith("0.10."):  # a private function, which others may not have
        mlir.make_ir_context = functools.cache(mlir.make_ir_context)


class _Server:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs"], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"})
        atexit.register(self.end)

    def run(self, request: dict[str, object], timeout: float) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.end()
                raise subprocess.TimeoutExpired(str(request["command"]), timeout)
        line = self.process.stdout.readline()
        assert line, f"the process that starts programs has ended: {self.process.wait()}"
        return int(line)

    def end(self) -> None:
        """Ends the server and a program that it waits for."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


_running: list[_Server] = []


def _server() -> _Server:
    if not _running or _running[0].process.poll() is not None:
        _running[:] = [_Server()]
    return _running[0]


def _serve() -> None:
    """Answers each request on standard input with an exit status; a fork returns from it."""
    import ml_collections  # noqa: F401

    from tests.shapes import check_shapes
    check_shapes()
    import experiments.cli  # noqa: F401
    import sngan_jax.metrics.choice
    import sngan_jax.metrics.evaluate
    import sngan_jax.run.figures
    import sngan_jax.run.loop
    import sngan_jax.run.restore  # noqa: F401

    share_mlir_context()
    for line in sys.stdin:
        if not (child := os.fork()):
            _become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(request: dict) -> None:
    """Runs a module in this process, as `python -m` does."""
    for number, file, flags in ((0, os.devnull, os.O_RDONLY),
                                (1, request["out"], os.O_WRONLY | os.O_CREAT),
                                (2, request["err"], os.O_WRONLY | os.O_CREAT)):
        opened = os.open(file, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    module, *sys.argv[1:] = request["command"]
    status: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    # Ends as an interpreter does, but does not free its objects one by one: in a fork, that first
    # copies each of their pages, and takes a second or more.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status or 0))  # type: ignore[call-overload]


if __name__ == "__main__":
    _serve()
