#!/usr/bin/env bash
# The same command on every host of a TPU VM slice, through gcloud.
#
#   TPU=my-tpu ZONE=us-central2-b experiments/launch/tpu_vm.sh \
#       --config=experiments/configs/imagenet128.py --workdir=gs-mounted/runs/imagenet
#
# Beforehand, once: gcloud compute tpus tpu-vm create "$TPU" --zone="$ZONE" \
#     --accelerator-type=v3-32 --version=tpu-ubuntu2204-base
# and, on every host (the same ssh command with --worker=all): clone this repository into ~/sngan_jax
# and pip install -e "./sngan_jax[train,tpu]". The workdir is on a disk that all hosts mount (Filestore, or
# a bucket through gcsfuse); only the first host writes there. DRY_RUN=1 prints the command.
set -euo pipefail
: "${TPU:?the name of the TPU VM}" "${ZONE:?its zone}"
printf -v arguments ' %q' "$@"
# One all-reduce of the gradients, of up to 512 MiB: what sngan_jax/base/compilation.py asks for on one host.
combine=LIBTPU_INIT_ARGS=--xla_jf_crs_combiner_threshold_in_bytes=536870912
command="cd ~/sngan_jax && $combine python3 -m experiments.train --distributed=yes$arguments"
run=(gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command")
if [[ -n "${DRY_RUN:-}" ]]; then
    printf '%q ' "${run[@]}"
    echo
else
    exec "${run[@]}"
fi
