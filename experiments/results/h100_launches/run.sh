# Everything, most valuable first, from the root of the repository: bash run.sh OUT
OUT=$1; HERE=$(dirname "$0"); LOGS=/tmp/h100_logs
mkdir -p "$OUT" "$LOGS"
export PYTHONUNBUFFERED=1 PYTHONPATH=$PYTHONPATH:$PWD
part() {  # name, seconds
  PART_SECONDS=$2 timeout -k 5 "$2" python3 "$HERE/h100.py.txt" "$1" "$OUT" $TINY > "$LOGS/$1.log" 2>&1
  echo "$1: exit $? after $SECONDS s"
}
{ date -u
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit --format=csv
  python3 -c "
import importlib.metadata as m, platform
print('python', platform.python_version())
for p in ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'torch', 'triton', 'nvidia-cudnn-cu13', 'nvidia-cublas'):
    print(p, m.version(p))"
} > "$OUT/machine.txt" 2>&1
part resnet ${T1:-230}
part chain ${T2:-30}
part cnn ${T3:-120}
touch "$OUT/busy"
part resume ${T4:-135} & RESUME=$!
part torch ${T5:-155}
wait $RESUME
date -u >> "$OUT/machine.txt"
rm -f "$OUT"/busy "$OUT"/*.new
tail -n +1 "$LOGS"/*.log | gzip > "$OUT/log.gz"
cat "$OUT/machine.txt"
for part in chain torch resume cnn resnet; do tail -n 60 "$LOGS/$part.log" | cut -c1-190; done
