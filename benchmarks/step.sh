#!/usr/bin/env bash
# Whole training steps on one GPU, ours and PyTorch's (torch_peer.py) in turn, on the same tokens; a table with ratios at the end.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

usage() {
    cat <<EOF
Usage: benchmarks/step.sh --data FOLDER --tokenizer FILE --output FOLDER [OPTION…] [RECIPE…]
  RECIPE…           of recipes/paper: 152m/transformer 152m/sisa-d16 50m/sisa-d64 369m/transformer 369m/sisa-d128
  --data FOLDER     of 'sisa data prepare', with ids of 16 bits
  --tokenizer FILE  the one that made them
  --output FOLDER   for logs and results.jsonl, which later calls add to
  --steps N         timed steps, after 3 untimed; a result takes at least 50 [50]
  --peer-steps N    PyTorch's [as many]
  --sisa PROGRAM    [build/release/sisa]
  --no-peer         ours alone
Python with PyTorch: \$SISA_PYTHON, or python3.
EOF
}
fail() {
    printf '%s\n' "$*" >&2
    exit 2
}

steps=50 peer_steps="" sisa="$here/../build/release/sisa" data="" tokenizer="" output="" peer=1 recipes=()
while [ $# -gt 0 ]; do
    case "$1" in
        --data | --tokenizer | --output | --steps | --peer-steps | --sisa)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help."
            variable="${1#--}"
            declare "${variable/-/_}=$2"
            shift
            ;;
        --no-peer) peer=0 ;;
        --help | -h)
            usage
            exit
            ;;
        -*) fail "There is no option '$1'; see --help." ;;
        *)
            [ -f "$here/../recipes/paper/$1.yaml" ] || fail "There is no recipe recipes/paper/$1.yaml."
            recipes+=("$1")
            ;;
    esac
    shift
done
peer_steps="${peer_steps:-$steps}"
for option in steps peer_steps; do
    [[ "${!option}" =~ ^[1-9][0-9]*$ ]] || fail "--${option/_/-}: '${!option}' is no number of steps; give 1 or more."
done
for needed in data tokenizer output; do [ -n "${!needed}" ] || fail "--$needed is missing; see --help."; done
[ -x "$sisa" ] || fail "$sisa is no program. Build it, or say which: --sisa PROGRAM."
command -v nvidia-smi >/dev/null || fail "nvidia-smi is missing: there is no NVIDIA GPU here."
[ ${#recipes[@]} -gt 0 ] || recipes=(152m/transformer 152m/sisa-d16 50m/sisa-d64 369m/transformer 369m/sisa-d128)
python="${SISA_PYTHON:-python3}" gpu="${CUDA_VISIBLE_DEVICES:-0}"
mkdir -p "$output"
# shellcheck source=scripts/end_jobs.sh
. "$here/../scripts/end_jobs.sh"

# A sample of clocks, power and temperature every 2 seconds while a command runs: $output/NAME.clocks.csv.
watched() {
    local name="$1" status=0
    shift
    nvidia-smi --id="${gpu%%,*}" --query-gpu=clocks.sm,power.draw,temperature.gpu --format=csv,noheader,nounits -l 2 >"$output/$name.clocks.csv" &
    "$@" >"$output/$name.log" 2>&1 &  # because bash runs a trap only after what is in the foreground
    wait $! || status=$?
    end_jobs
    [ "$status" = 0 ] && return
    tail -n 5 "$output/$name.log" >&2
    echo "This failed (exit status $status), see $output/$name.log: $*" >&2
    case "$status" in 130 | 143) exit "$status" ;; esac  # interrupted
    return 1
}

warm=3 failed=0
for recipe in "${recipes[@]}"; do
    case "$recipe" in 369m/*) micro_batch=16 ;; *) micro_batch=64 ;; esac
    name="${recipe/\//-}" run="$output/${recipe/\//-}.run"
    rm -rf "$run"
    if watched "$name.sisa" "$sisa" train "$here/../recipes/paper/$recipe.yaml" --output "$run" --set "data.tokenizer=$tokenizer" \
        --set "data.sources=[{path: $data}]" --set "train.micro_batch=$micro_batch" --set "train.warmup=1 step" \
        --set "train.max_tokens=$((524288 * (steps + warm))) tokens" --set "checkpoint.every=0 steps" \
        --set "evaluation.every=0 steps" --set "evaluation.tokens=100k tokens"; then
        "$python" "$here/step_table.py" --add "$output" --recipe "$recipe" --who sisa --warm "$warm" --from "$run/metrics.jsonl" \
            --micro-batch "$micro_batch"
    else
        failed=1
    fi
    rm -rf "$run"/checkpoints
    [ "$peer" = 1 ] || continue
    case "$recipe" in 369m/*) tried=(8 16) ;; 152m/sisa*) tried=(32) ;; *) tried=(64) ;; esac  # the best known
    d_state=0
    [[ "$recipe" =~ sisa-d([0-9]+)$ ]] && d_state="${BASH_REMATCH[1]}"
    if watched "$name.torch" "$python" "$here/torch_peer.py" --scale "${recipe%%/*}" --d-state "$d_state" --steps "$peer_steps" \
        --micro-batch "${tried[@]}" --tokens "$data/train-00000.bin"; then
        "$python" "$here/step_table.py" --add "$output" --recipe "$recipe" --who torch --from "$output/$name.torch.log"
    else
        failed=1
    fi
done
"$sisa" --version || true
nvidia-smi --id="${gpu%%,*}" --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader || true
if [ -f "$output/results.jsonl" ]; then "$python" "$here/step_table.py" --show "$output"; fi
exit "$failed"
