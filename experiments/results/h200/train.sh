set -u
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false SNGAN_JAX_CACHE=/tmp/cache
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
export PYTHONPATH=/tmp/site:$PWD
mkdir -p /tmp/data /tmp/pids /tmp/runs
for f in .dev/a/*.xz; do python3 -c "
import lzma, sys; f = sys.argv[1]
open('/tmp/data/' + f.split('/')[-1][:-3], 'wb').write(lzma.open(f).read())" $f & done; wait
train() { name=$1; shift
  setsid python3 -m sngan_jax.experiments train "$@" --config.dtype=bfloat16 --config.dataset=idx:/tmp/data --config.ema_decay=0.999 --config.log_every=100 --config.sample_every=7000 --config.checkpoint_every=2000 --workdir=/tmp/runs/$name > /tmp/runs/$name.log 2>&1 &
  echo $! > /tmp/pids/$name; }
train resnet --config=cifar10_resnet --config.iterations=14000
train cond --config=cifar10_resnet:conditional --config.generator_width=128 --config.iterations=12000
setsid python3 .dev/gpu.py resume "$OUT" > /tmp/runs/resume.log 2>&1 & echo $! > /tmp/pids/resume
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm --format=csv; nproc
timeout -k 5 400 python3 .dev/gpu.py bench "$OUT" > /tmp/runs/bench.log 2>&1; echo "bench $? after $SECONDS s"
for p in /tmp/pids/*; do kill -CONT -- -$(cat $p) 2>/dev/null; done
for name in resnet cond; do
  if ! kill -0 $(cat /tmp/pids/$name) 2>/dev/null && ! grep -q "done in" /tmp/runs/$name.log; then
    echo "$name died"; tail -5 /tmp/runs/$name.log | cut -c1-600
    export XLA_FLAGS=--xla_gpu_enable_command_buffer=+FUSION
    [ $name = resnet ] && train resnet --config=cifar10_resnet --config.iterations=14000
    [ $name = cond ] && train cond --config=cifar10_resnet:conditional --config.generator_width=128 --config.iterations=12000
    unset XLA_FLAGS
  fi; done
while [ $SECONDS -lt 530 ]; do
  kill -0 $(cat /tmp/pids/resnet) 2>/dev/null || kill -0 $(cat /tmp/pids/cond) 2>/dev/null || break; sleep 1; done
echo "trainings after $SECONDS s"; nvidia-smi --query-gpu=memory.used --format=csv,noheader
export JAX_PLATFORMS=cpu
for name in resnet cond; do
  python3 -m sngan_jax.experiments export-weights --workdir=/tmp/runs/$name --out="$OUT/$name.npz" --dtype=float16 > /tmp/runs/export-$name.log 2>&1 & done; wait
(cd /tmp/runs && tar czf "$OUT/runs.tgz" *.log */metrics.jsonl */config.json */environment.json */samples */*.png)
cp /tmp/resume/*.log "$OUT" 2>/dev/null
tail -c 1500 /tmp/runs/bench.log; for n in resnet cond resume; do tail -n 4 /tmp/runs/$n.log | cut -c1-700; done; ls -la "$OUT"; echo "end $SECONDS s"
