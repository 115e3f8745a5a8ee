#!/usr/bin/env bash
# One process on one node, with all of its devices.
#
#   sbatch experiments/launch/slurm_one_node.sh --config=cifar10_resnet --workdir=runs/resnet
#
# Choose partition and devices with sbatch's own options, such as --partition=gpu --gres=gpu:4. Five
# minutes before its time is over the run saves and ends; the same command continues it.
#SBATCH --job-name=sngan
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --output=slurm-%j.txt
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
if [[ -n "${SNGAN_VENV:-}" ]]; then . "$SNGAN_VENV/bin/activate"; fi  # where JAX is installed
exec srun --kill-on-bad-exit=0 sngan train "$@"
