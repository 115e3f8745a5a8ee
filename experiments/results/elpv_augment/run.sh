#!/bin/sh
# With and without augmentation, each with three seeds; prepare.py says how to get the data.
#     experiments/results/elpv_augment/run.sh data/elpv runs/elpv
# ITERATIONS, WIDTH, FOLDER (few or train), K, SEEDS and FAKES change the runs.
set -eu
data=$1 runs=$2
every=$((${ITERATIONS:-3000} / 4))
sngan sweep --config=folder:64 --grid=augment=,color+translation+cutout --seeds="${SEEDS:-3}" --parallel=2 \
  --config.dataset="folder:$data/${FOLDER:-few}" --config.channels=1 --config.model=sndcgan \
  --config.generator_width="${WIDTH:-16}" --config.discriminator_width="$((${WIDTH:-16} / 2))" \
  --config.batch_size=16 --config.generator_batch_size=16 --config.n_dis=1 \
  --config.beta1=0.5 --config.beta2=0.999 --config.learning_rate=5e-4 --config.lr_decay_start=1 \
  --config.ema_decay=0.99 --config.iterations="${ITERATIONS:-3000}" --config.log_every=50 \
  --config.sample_every="$every" --config.checkpoint_every="$every" --config.keep_every="$every" \
  --config.num_samples=36 --config.lipschitz="${K:-1.7}" --workdir="$runs"
for workdir in "$runs"/augment=*; do
  sngan evaluate --workdir="$workdir" --against="folder:$data/held_out" \
    --metrics=kid,fid,prdc --num_real=0 --num_fake="${FAKES:-500}"
  sngan sample --workdir="$workdir" --num=8 --nearest=5 --out="$workdir/nearest"
done
