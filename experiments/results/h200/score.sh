set -u
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false SNGAN_JAX_CACHE=/tmp/cache PYTHONPATH=/tmp/site:$PWD
python3 -c "
import hashlib, lzma, os, pickle
from concurrent.futures import ThreadPoolExecutor
import numpy as np
planes, rest, digest = pickle.loads(open('/tmp/inc_a', 'rb').read() + open('.dev/b/inc', 'rb').read())
planes = list(ThreadPoolExecutor(4).map(lzma.decompress, planes))
raw = np.stack([np.frombuffer(p, np.uint8) for p in planes], 1).tobytes() + rest
assert hashlib.sha256(raw).hexdigest() == digest
os.makedirs('/tmp/cache', exist_ok=True)
open('/tmp/cache/inception-2015-12-05.npz', 'wb').write(raw)"
while [ $SECONDS -lt 120 ]; do
  kill -0 $(cat /tmp/pids/resnet) 2>/dev/null || kill -0 $(cat /tmp/pids/cond) 2>/dev/null || break; sleep 1; done
echo "ready after $SECONDS s"
ev() { name=$1; log=$2; shift 2; timeout 200 python3 -m sngan_jax.experiments evaluate --workdir=/tmp/runs/$name "$@" > $OUT/$log.log 2>&1; echo "$log $? after $SECONDS s"; }
ev resnet fid-resnet --num-fake=10000 --num-real=10000 --against-split=test --metrics=fid,kid &
ev cond fid-cond --num-fake=10000 --num-real=10000 --against-split=test --metrics=fid,kid &
ev cond intra-cond --num-fake=50000 --num-real=0 --metrics=fid,intra_fid &
wait
for i in $(seq 60); do grep -q 'killed against' /tmp/out3/resume.json && break; sleep 1; done
cp /tmp/out3/* /tmp/resume/*.log $OUT
for n in resnet cond; do [ -s /tmp/runs/$n/scores.jsonl ] && cp /tmp/runs/$n/scores.jsonl $OUT/$n-scores.jsonl; done
cat /tmp/runs/resume.log | tail -n 2 | cut -c1-1500; tail -n 5 $OUT/*.log | cut -c1-500
echo "end $SECONDS s"
