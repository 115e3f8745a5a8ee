"""The NVIDIA cards that a config can be compiled for, in the form that XLA's compiler needs.

XLA takes a description of the card ("target config") in place of the card. The numbers for the
H100, the A100 and the B200 are XLA's own: openxla/xla, xla/backends/gpu/target_config/specs, files
h100_sxm, a100_sxm_80 and b200 (commits 0774019, 4336d12, 300ec95; the memory of the H100 is from an
earlier version). XLA has none for the L4 and the T4. For these, the threads, registers and shared
memory of a multiprocessor, by compute capability (8.9, 7.5), are from the CUDA C++ Programming
Guide, "Technical Specifications per Compute Capability"; multiprocessors, clock, L2 cache and
bandwidth are from NVIDIA's data sheets; memory is as CUDA reports it (22,565 MiB on an L4,
15,637,086,208 bytes on a T4), which is less than the cards' names say.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 2**20
# Versions of NVIDIA's libraries for which XLA chooses its calls: those with jax[cuda12] 0.10.2.
CUDNN, CUDA = (9, 28), (12, 9)
# The share of a card's memory that JAX takes when it starts, unless told otherwise.
SHARE = 0.75


class Card(NamedTuple):
    """One model of card.

    title: name of the card in its driver, which is JAX's `device_kind`.
    capability: the compute capability.
    cores: streaming multiprocessors.
    fpus: float32 units per multiprocessor.
    threads: largest number of resident threads per multiprocessor.
    shared: bytes of shared memory per multiprocessor.
    shared_block: bytes of it that one block can ask for.
    l2: bytes of the cache.
    clock: GHz.
    bandwidth: bytes per second of the card's memory.
    memory: bytes.
    """

    title: str
    capability: tuple[int, int]
    cores: int
    fpus: int
    threads: int
    shared: int
    shared_block: int
    l2: int
    clock: float
    bandwidth: int
    memory: int

    @property
    def text(self) -> str:
        """XLA's `GpuTargetConfigProto` of the card, as text."""
        major, minor = self.capability
        return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: {self.threads}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: {self.shared_block}
  shared_memory_per_core: {self.shared} core_count: {self.cores} fpus_per_core: {self.fpus}
  memory_bandwidth: {self.bandwidth} l2_cache_size: {self.l2} clock_rate_ghz: {self.clock}
  device_memory_size: {self.memory}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: {CUDNN[0]} minor: {CUDNN[1]} }}
runtime_version {{ major: {CUDA[0]} minor: {CUDA[1]} patch: 0 }}
device_description_str: "{self.title}"
"""


CARDS = {
    "h100": Card("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 2048, 233_472, 232_448, 50 * MIB, 1.98,
                 3_352_320_000_000, 84_929_347_584),
    "a100": Card("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 2048, 167_936, 166_912, 40 * MIB, 1.41,
                 2_039_040_000_000, 85_100_068_864),
    "l4": Card("NVIDIA L4", (8, 9), 58, 128, 1536, 102_400, 101_376, 48 * MIB, 2.04,
               300_000_000_000, 22_565 * MIB),
    "t4": Card("Tesla T4", (7, 5), 40, 64, 1024, 65_536, 65_536, 4 * MIB, 1.59,
               320_000_000_000, 15_637_086_208),
    "b200": Card("NVIDIA B200", (10, 0), 148, 128, 2048, 233_472, 232_448, 132_644_864, 1.965,
                 7_672_320_000_000, 191_514_411_008),
}
