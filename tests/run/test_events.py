"""TensorBoard events are written without PyTorch, and PyTorch can still be imported afterwards."""

import subprocess
import sys

from tests.run.tensorboard_reader import scalars

_SCRIPT = """
import sys
from pathlib import Path
from sngan_jax.run.events import Events
events = Events(Path(sys.argv[1]), 1)
events.scalars({"loss": 2.5}, 7)
events.close()
assert "torch" not in sys.modules
"""


def test_no_pytorch_is_imported(tmp_path):
    # Stands for PyTorch where it is installed.
    (tmp_path / "torch.py").write_text("Tensor = object\n")
    folder = tmp_path / "events"
    done = subprocess.run([sys.executable, "-c", _SCRIPT + "import torch; torch.Tensor",
                           str(folder)], env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert scalars(folder) == {"loss": {7: 2.5}}
