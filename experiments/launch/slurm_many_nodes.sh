#!/usr/bin/env bash
# One process per GPU (or task) on several nodes: JAX reads coordinator, count and ids from SLURM.
#
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-task=1 experiments/launch/slurm_many_nodes.sh \
#       --config=imagenet128 --workdir=/shared/runs/imagenet
#
# The workdir and the data must be on a path that all nodes share. If one task is lost, the others
# end with a sentence and status 3, and the same command resumes from the last checkpoint.
#SBATCH --job-name=sngan
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --output=slurm-%j.txt
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
if [[ -n "${SNGAN_VENV:-}" ]]; then . "$SNGAN_VENV/bin/activate"; fi  # where JAX is installed
# Each task ends on its own, with its own sentence.
exec srun --kill-on-bad-exit=0 --label sngan train --distributed=yes "$@"
