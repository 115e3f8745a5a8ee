"""Prevents JAX from starting compilers of accelerators that this machine lacks.

libtpu and NVIDIA's plugin of JAX may be installed only for `sngan compile-check`. JAX starts both
in every program to look for devices. If there are none, libtpu prints five lines and the plugin a
traceback. `hide` hides them from JAX, before JAX is imported, and only if there is no sign of such
a device. `show` undoes this for the only program that uses such a compiler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

# Files that a driver or a container creates where there is a device.
_TPUS = ("dev/accel*", "dev/vfio/[0-9]*")
_CARDS = ("dev/nvidia[0-9]*", "dev/nvidiactl", "dev/dxg")
# Variables set by people who want a TPU. Each of them, and JAX_PLATFORMS, disables `hide`.
_TPU_VARIABLES = ("JAX_FORCE_TPU_INIT", "TPU_NAME", "TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE",
                  "PJRT_DEVICE")
# The first place where JAX looks for libtpu. The package itself sets it to its own library.
_LIBRARY, _OF_PACKAGE = "TPU_LIBRARY_PATH", "/libtpu/libtpu.so"
# Read by JAX's plugin. By this value, a process that was started from this one on another machine
# sees that this package set it.
_SKIP_CHECK, _OURS = "JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "no card where experiments started"


def has_tpu(root: Path = Path("/"), environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether there is any sign of a TPU on this machine."""
    library = environment.get(_LIBRARY, _OF_PACKAGE)
    return (_is_there(root, _TPUS) or any(name in environment for name in _TPU_VARIABLES)
            or not library.endswith(_OF_PACKAGE))


def has_card(root: Path = Path("/")) -> bool:
    """Whether there is any sign of an NVIDIA card, including those that JAX itself looks for."""
    return _is_there(root, _CARDS)


def hide(root: Path = Path("/"), environment: MutableMapping[str, str] = os.environ,
         modules: MutableMapping[str, Any] = sys.modules) -> None:
    """Hides the compilers of absent devices from JAX.

    Args:
      root: root of the file system.
      environment: variables of this process.
      modules: imported modules, as in sys.modules.
    """
    card = has_card(root)
    if card and environment.get(_SKIP_CHECK) == _OURS:
        del environment[_SKIP_CHECK]
    if environment.get("JAX_PLATFORMS"):
        return
    if not has_tpu(root, environment):
        modules["libtpu"] = None  # `import libtpu` then fails, as if it were not installed
        environment.pop(_LIBRARY, None)
    if not card:
        # JAX itself skips the plugin if it sees no card, but checks the plugin's libraries first.
        environment.setdefault(_SKIP_CHECK, _OURS)


def show() -> None:
    """Lets this process import libtpu again."""
    if sys.modules.get("libtpu", ...) is None:
        del sys.modules["libtpu"]


def _is_there(root: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(root.glob(pattern), None) for pattern in patterns)
