"""Compilers of accelerators that this machine does not have stay asleep.

libtpu and NVIDIA's plugin of JAX may be installed for `sngan compile-check` alone. JAX wakes
both in every program, to look for their devices, and both complain at length where there are none:
libtpu in five lines, the plugin in a traceback. `hide` keeps JAX from them, before it is imported,
and only where there is no sign of such a device; `show` undoes it for the one program that asks a
compiler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

# What a driver or a container puts there, where a device is.
_TPUS = ("dev/accel*", "dev/vfio/[0-9]*")
_CARDS = ("dev/nvidia[0-9]*", "dev/nvidiactl", "dev/dxg")
# What somebody sets who means a TPU. Each of them, and JAX_PLATFORMS, leaves all as it is.
_TPU_VARIABLES = ("JAX_FORCE_TPU_INIT", "TPU_NAME", "TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE",
                  "PJRT_DEVICE")
# Where JAX looks for libtpu first. The package itself sets it to the place of its own library.
_LIBRARY, _OF_PACKAGE = "TPU_LIBRARY_PATH", "/libtpu/libtpu.so"
# Of JAX's plugin; the value tells a process that starts from this one elsewhere who has set it.
_SKIP_CHECK, _OURS = "JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "no card where experiments started"


def has_tpu(root: Path = Path("/"), environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether there is any sign of a TPU on this machine."""
    library = environment.get(_LIBRARY, _OF_PACKAGE)
    return (_is_there(root, _TPUS) or any(name in environment for name in _TPU_VARIABLES)
            or not library.endswith(_OF_PACKAGE))


def has_card(root: Path = Path("/")) -> bool:
    """Whether there is any sign of an NVIDIA card, JAX's own ones."""
    return _is_there(root, _CARDS)


def hide(root: Path = Path("/"), environment: MutableMapping[str, str] = os.environ,
         modules: MutableMapping[str, Any] = sys.modules) -> None:
    """Keeps JAX from the compilers of devices that are not here.

    Args:
      root: root of the file system.
      environment: variables of this process.
      modules: imported modules.
    """
    card = has_card(root)
    if card and environment.get(_SKIP_CHECK) == _OURS:
        del environment[_SKIP_CHECK]
    if environment.get("JAX_PLATFORMS"):
        return
    if not has_tpu(root, environment):
        modules["libtpu"] = None  # `import libtpu` fails, as where it is not installed
        environment.pop(_LIBRARY, None)
    if not card:
        # JAX itself passes over the plugin where it sees no card, but first checks its libraries.
        environment.setdefault(_SKIP_CHECK, _OURS)


def show() -> None:
    """Lets this process import libtpu again."""
    if sys.modules.get("libtpu", ...) is None:
        del sys.modules["libtpu"]


def _is_there(root: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(root.glob(pattern), None) for pattern in patterns)
