#!/usr/bin/env bash
# A SLURM of this one machine, without systemd, cgroups or a network, in a folder of its own.
#
#   slurm_cluster.sh start FOLDER    then export SLURM_CONF=FOLDER/slurm.conf
#   slurm_cluster.sh stop FOLDER
#
# Needs Debian's slurm-wlm and munge, and root.
set -euo pipefail
action=$1 folder=$(realpath -m "$2")
export SLURM_CONF="$folder/slurm.conf"

stop() {  # the daemons of this folder only, by their own pid files
    for name in slurmctld slurmd munged; do
        if [[ -s "$folder/$name.pid" ]]; then kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
    done
}

if [[ $action == stop ]]; then
    stop
    exit
fi
mkdir -p "$folder"/{state,spool,munge}
host=$(hostname -s)
base=$((20000 + RANDOM % 20000))
cpus=$(nproc)
# A munged of its own: another one may run, or none.
dd if=/dev/urandom of="$folder/munge/key" bs=1 count=1024 status=none
chown -R munge: "$folder/munge"
chmod 700 "$folder/munge"
chmod 600 "$folder/munge/key"
chmod 755 "$folder"
touch "$folder/munged.pid"
runuser -u munge -- munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
    --force
chmod 711 "$folder/munge"
ln -sf "$folder/munge/pid" "$folder/munged.pid"
cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CryptoType=crypto/munge
SlurmctldPort=$base
SlurmdPort=$((base + 1))
SrunPortRange=$((base + 10))-$((base + 200))
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=30
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=2000
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
slurmctld -c
slurmd -N "$host"
for _ in $(seq 60); do
    if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then exit 0; fi
    sleep 0.5
done
echo "SLURM did not start; see $folder" >&2
tail -n 5 "$folder"/*.log >&2 || true
stop
exit 1
