#!/usr/bin/env bash
#SBATCH --job-name=fdpbench
#SBATCH --cpus-per-task=4
# A study on Slurm: this job is the head of a cluster, worker jobs join it as they start and may end at any time.
#
#     cd my-study && sbatch [OPTIONS] /path/to/cluster.sh [COMMAND...]       COMMAND: dvc repro, if none is given
#
# The folder, and the environment with fdpbench and Ray that is active when it is submitted, must be seen by all nodes.
# FDPBENCH_WORKERS: options of the worker jobs, an array: --array=1-100%8 keeps 8 at work, and starts another one for
# each that ends at its wall time, 100 in all. FDPBENCH_SETUP: a command that a worker runs first, such as `module load`.
# A job that is submitted again goes on where the last one was stopped.
set -euo pipefail
: "${SLURM_JOB_ID:?submit this with sbatch}"
workers=${FDPBENCH_WORKERS:---array=1-20%4 --cpus-per-task=4 --time=4:00:00}
state=$(mktemp -d "$PWD/.slurm-$SLURM_JOB_ID-XXXX")
export RAY_USAGE_STATS_ENABLED=0 FDPBENCH_SETUP=${FDPBENCH_SETUP:-true}

# Who has this token may run anything as you; without it nobody else on the network may.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/token
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' >"$RAY_AUTH_TOKEN_PATH")

export FDPBENCH_CLUSTER FDPBENCH_NODE
FDPBENCH_CLUSTER=$(hostname -I | cut -d' ' -f1):$((20000 + SLURM_JOB_ID % 20000))
FDPBENCH_NODE=$state/node.sh
# One node of Ray until its job ends. Ports are drawn and folders are its own, since several may share a machine; CPUs and
# GPUs are those of the job, since Ray would count the machine's.
cat >"$FDPBENCH_NODE" <<'NODE'
folder=$(mktemp -d /tmp/fdpbench-ray-XXXXXX)
trap 'rm -rf "$folder"' EXIT
eval "$FDPBENCH_SETUP"
ray start "$@" --block --temp-dir="$folder" --include-log-monitor=false \
  --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" &
ray=$!
trap 'kill $ray; wait $ray; exit 143' TERM # it ends all that it has started
wait $ray
NODE

bash "$FDPBENCH_NODE" --head --port="${FDPBENCH_CLUSTER##*:}" --include-dashboard=false --disable-usage-stats \
  >"$state/head.log" 2>&1 &
head=$!
jobs=
stop() {
  [ -z "$jobs" ] || scancel "$jobs" || true
  kill "$head" 2>/dev/null || true
  wait "$head" || true
  rm -rf "$state"
}
trap stop EXIT
trap 'exit 143' TERM
until python -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)' \
  "${FDPBENCH_CLUSTER%:*}" "${FDPBENCH_CLUSTER##*:}" 2>/dev/null; do
  kill -0 "$head" 2>/dev/null || { cat "$state/head.log"; exit 1; }
  sleep 1
done

# shellcheck disable=SC2086 # options are words
jobs=$(env -u SLURM_CPUS_ON_NODE -u SLURM_GPUS_ON_NODE sbatch --parsable --job-name=fdpbench-worker --output=/dev/null $workers \
  --wrap "exec bash '$FDPBENCH_NODE' --address=$FDPBENCH_CLUSTER")
[ $# -gt 0 ] || set -- dvc repro
"$@" &
wait $!
