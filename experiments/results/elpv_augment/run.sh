#!/bin/sh
# Both variants, three seeds, one run after another; prepare.py says how to get the data.
#     experiments/results/elpv_augment/run.sh data/elpv runs/elpv
# ITERATIONS, WIDTH, FOLDER (few or train), K, SEEDS and FAKES change the runs.
set -eu
data=$1 runs=$2
for seed in ${SEEDS:-0 1 2}; do
  for augment in "" color,translation,cutout; do
    workdir=$runs/${augment:+augmented-}$seed
    sngan train --config=folder:64 \
      --config.dataset="folder:$data/${FOLDER:-few}" --config.channels=1 --config.model=sndcgan \
      --config.generator_width="${WIDTH:-16}" --config.discriminator_width="$((${WIDTH:-16} / 2))" \
      --config.batch_size=16 --config.generator_batch_size=16 --config.n_dis=1 \
      --config.beta1=0.5 --config.beta2=0.999 --config.learning_rate=5e-4 --config.lr_decay_start=1 \
      --config.ema_decay=0.99 --config.iterations="${ITERATIONS:-1000}" --config.log_every=50 \
      --config.sample_every=500 --config.checkpoint_every=500 --config.num_samples=36 \
      --config.augment="$augment" --config.lipschitz="${K:-1.0}" --config.seed=$seed \
      --workdir="$workdir"
  done
done
for workdir in "$runs"/*; do
  sngan evaluate --workdir="$workdir" --against="folder:$data/held_out" \
    --metrics=kid,fid,prdc --num_real=0 --num_fake="${FAKES:-500}"
  sngan sample --workdir="$workdir" --num=8 --nearest=5 --out="$workdir/nearest"
done
