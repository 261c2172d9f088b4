#!/usr/bin/env bash
# Runs everything that needs a GPU: the tests, and benchmarks of our programs and of PyTorch. Logs go to a folder. The programs may be
# built on another machine:
#   scripts/gpu_check.sh --pack FOLDER --tokenizer FILE TEXT…   where they are built: strips them into FOLDER, with tokenizer and texts
#   scripts/gpu_check.sh --from FOLDER --output LOGS            on the GPU host, in a checkout of the same commit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
all_parts=(tests strict kernels profile curves scaling speed)

usage() {
    cat <<EOF
Usage: scripts/gpu_check.sh --pack FOLDER --tokenizer FILE TEXT…
       scripts/gpu_check.sh [--from FOLDER] --output LOGS [OPTION…] [PART…]
  --pack FOLDER     gather there what a GPU host needs: programs of build/release, the tokenizer, texts (.jsonl.zst, .txt …)
  --from FOLDER     such a folder; without it programs are those of build/release, and --tokenizer and --text say the rest
  --tokenizer FILE  a tokenizer.json; all parts but tests, kernels and profile need it, and a text
  --text FILE       once for each
  --output LOGS     a folder for logs and results
  PART              of those below; without any, all, which takes some 45 minutes of one H100
  --steps N         timed steps of a recipe in 'speed' and 'scaling' [50]
  --peer-steps N    PyTorch's in 'speed' [as many]
  --recipe RECIPE   of 'speed', as benchmarks/step.sh has them
  tests     the tests with the label gpu
  strict    two runs with determinism: strict have the same bits, and what that costs
  kernels   sisa_bench: each kernel beside the device's limit
  profile   step_profile: where the time of a step goes
  curves    losses of 300 steps with our kernels and with LibTorch's operations, two seeds
  scaling   all GPUs of the host together against each alone
  speed     benchmarks/step.sh: whole steps beside PyTorch's
Needs Python with PyTorch (its LibTorch is used): \$SISA_PYTHON, or python3.
EOF
}
fail() {
    printf '%s\n' "$*" >&2
    exit 2
}

pack="" from="" output="" tokenizer="" texts=() steps=50 peer_steps="" recipes=() words=()
while [ $# -gt 0 ]; do
    case "$1" in
        --pack | --from | --output | --tokenizer | --text | --steps | --peer-steps | --recipe)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help."
            case "$1" in
                --text) texts+=("$2") ;;
                --recipe) recipes+=("$2") ;;
                *)
                    variable="${1#--}"
                    declare "${variable/-/_}=$2"
                    ;;
            esac
            shift
            ;;
        --help | -h)
            usage
            exit
            ;;
        -*) fail "There is no option '$1'; see --help." ;;
        *) words+=("$1") ;;
    esac
    shift
done
peer_steps="${peer_steps:-$steps}"
for option in steps peer_steps; do
    [[ "${!option}" =~ ^[1-9][0-9]*$ ]] || fail "--${option/_/-}: '${!option}' is no number of steps; give 1 or more."
done
programs=(sisa step_profile sisa_bench test_model_gpu test_parallel_gpu test_launcher_gpu test_checkpoint)

if [ -n "$pack" ]; then
    texts+=("${words[@]}")
    [ -n "$tokenizer" ] || fail "--tokenizer is missing; see --help."
    [ ${#texts[@]} -gt 0 ] || fail "There is no text to pack; see --help."
    mkdir -p "$pack/text" "$pack/lib"
    for program in "${programs[@]}"; do
        file="$(find build/release -maxdepth 3 -type f -name "$program" | head -n 1)"
        [ -n "$file" ] || fail "build/release has no $program. Build all first, with nvcc on the PATH: scripts/test.sh; \
sisa_bench also wants libbenchmark-dev."
        strip -o "$pack/$program" "$file"
    done
    ldd "$pack/sisa_bench" | awk '/libbenchmark/ { print $3 }' | xargs -r cp -Lt "$pack/lib"
    cp "$tokenizer" "$pack/tokenizer.json"
    cp "${texts[@]}" "$pack/text/"
    du -sh "$pack"
    exit
fi

[ -n "$output" ] || fail "--output is missing; see --help."
for part in "${words[@]}"; do
    [[ " ${all_parts[*]} " = *" $part "* ]] || fail "There is no part '$part'; there are ${all_parts[*]}."
done
[ ${#words[@]} -gt 0 ] || words=("${all_parts[@]}")
program() {
    if [ -n "$from" ]; then echo "$from/$1"; else find build/release -maxdepth 3 -type f -name "$1" | head -n 1; fi
}
if [ -n "$from" ]; then
    tokenizer="$from/tokenizer.json" texts=("$from"/text/*)
fi
for part in "${words[@]}"; do
    case "$part" in
        tests | kernels | profile) ;;
        *) [[ -n "$tokenizer" && ${#texts[@]} -gt 0 ]] || fail "The part '$part' needs --tokenizer and --text, or --from; see --help." ;;
    esac
done
for recipe in "${recipes[@]}"; do [ -f "recipes/paper/$recipe.yaml" ] || fail "There is no recipe recipes/paper/$recipe.yaml."; done
sisa="$(program sisa)"
[ -x "$sisa" ] || fail "There is no program sisa in ${from:-build/release}. Build it, or pack it where it is built; see --help."
command -v nvidia-smi >/dev/null || fail "nvidia-smi is missing: there is no NVIDIA GPU here."
export SISA_PYTHON="${SISA_PYTHON:-python3}" SISA_GOLDEN_DIR="${SISA_GOLDEN_DIR:-$PWD/tests/data/golden}"
site="$("$SISA_PYTHON" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])')" || fail "$SISA_PYTHON has no PyTorch."
LD_LIBRARY_PATH="${from:+$from/lib:}$site/torch/lib:$(printf '%s:' "$site"/nvidia/*/lib)${LD_LIBRARY_PATH:-}"
export LD_LIBRARY_PATH
# shellcheck source=scripts/environment.sh
. scripts/environment.sh
mkdir -p "$output"
work="$(mktemp -d)"
failed=()
# shellcheck source=scripts/end_jobs.sh
. scripts/end_jobs.sh
finish() { rm -rf "$work"; }

say() { printf '\n==> %s (%d s)\n' "$*" $SECONDS; }
# Runs a command in the background, because bash runs traps only after a foreground command has ended, and in a process group of its
# own, because mpirun leaves its ranks running if it receives Ctrl-C before SIGTERM.
run() {  # COMMAND…
    set -m
    "$@" </dev/null &
    set +m
    wait $!
}
attempt() {  # NAME COMMAND…: output to $output/NAME.log
    local name="$1" status=0
    shift
    run "$@" >"$output/$name.log" 2>&1 || status=$?
    case "$status" in 0 | 77) return 0 ;; esac  # 77: a test program that skipped every case
    failed+=("$name")
    echo "$name failed (exit status $status), see $output/$name.log:"
    tail -n 15 "$output/$name.log"
    return 1
}
prepare() {  # tokens of the texts, once
    [ -d "$work/tokens" ] || attempt prepare "$sisa" data prepare "${texts[@]}" --tokenizer "$tokenizer" --output "$work/tokens"
}
train() {  # NAME RECIPE KEY=VALUE…: a run in $work/NAME without saves, on $ranks GPUs
    local name="$1" recipe="$2" settings=() setting start=()
    shift 2
    if [ "${ranks:-1}" -gt 1 ]; then start=(mpirun -n "$ranks"); fi
    for setting in "data.tokenizer=$tokenizer" "data.sources=[{path: $work/tokens}]" "checkpoint.every=0 steps" \
        "evaluation.every=0 steps" "evaluation.tokens=100k tokens" "$@"; do
        settings+=(--set "$setting")
    done
    attempt "$name" "${start[@]}" "$sisa" train "recipes/paper/$recipe.yaml" --output "$work/$name" "${settings[@]}" || return
    cp "$work/$name/metrics.jsonl" "$output/$name.metrics.jsonl"
}

check_tests() {
    local name
    for name in test_model_gpu test_parallel_gpu test_launcher_gpu; do
        if attempt "$name" "$(program "$name")"; then grep -E '^\[  (PASSED|SKIPPED) ' "$output/$name.log"; fi
    done
    if attempt test_parallel_gpu.2 mpirun -n 2 "$(program test_parallel_gpu)"; then  # skips most of it on a single GPU
        grep -aE '(PASSED|SKIPPED)' "$output/test_parallel_gpu.2.log"
    fi
    if attempt test_checkpoint "$(program test_checkpoint)" --gtest_filter='*Gpu*'; then tail -n 1 "$output/test_checkpoint.log"; fi
}
check_strict() {  # the same bits twice; what it costs
    prepare || return 0
    local name
    for name in strict-1 strict-2 fast; do
        train "$name" 152m/sisa-d16 train.micro_batch=32 "train.warmup=1 step" "train.max_tokens=$((524288 * 8)) tokens" \
            "run.determinism=${name%-*}" || return 0
    done
    "$SISA_PYTHON" scripts/gpu_results.py strict "$output" || failed+=(strict)
}
check_kernels() {
    if attempt kernels "$(program sisa_bench)"; then cut -c 1-160 "$output/kernels.log"; fi
}
check_profile() {
    local system
    for system in sisa-d16 transformer; do
        if attempt "profile-$system" "$(program step_profile)" "recipes/paper/152m/$system.yaml" run.device=cuda train.micro_batch=32; then
            head -n 16 "$output/profile-$system.log"
        fi
    done
}
check_curves() {  # fused against LibTorch's operations, 300 steps of real text, two seeds
    prepare || return 0
    local seed fused
    for seed in 1 2; do
        for fused in true false; do
            train "curve-$seed-$fused" 50m/sisa-d16 "run.seed=$seed" "run.fused=$fused" "train.batch=32768 tokens" train.micro_batch=8 \
                "train.max_tokens=$((32768 * 300)) tokens" "train.warmup=30 steps" "log.every=100 steps" || return 0
        done
    done
    "$SISA_PYTHON" scripts/gpu_results.py curves "$output" || failed+=(curves)
}
check_scaling() {  # all GPUs of this host together, against each alone, at the same heat: these run at once
    local visible gpus gpu run runs=() status=0 settings
    settings=(train.micro_batch=64 "train.warmup=1 step" "train.max_tokens=$((524288 * (steps + 3))) tokens")
    visible="$(nvidia-smi --list-gpus | wc -l)"
    visible="${CUDA_VISIBLE_DEVICES-$(seq -s, 0 $((visible - 1)))}"
    IFS=', ' read -ra gpus <<<"$visible"
    if [ ${#gpus[@]} -lt 2 ]; then
        echo "Fewer than two GPUs are visible: nothing to compare."
        return 0
    fi
    prepare || return 0
    for gpu in "${gpus[@]}"; do
        (  # a subshell starts without traps
            trap end_jobs EXIT
            trap 'exit 143' TERM
            CUDA_VISIBLE_DEVICES="$gpu" train "scaling-alone-$gpu" 152m/sisa-d16 "${settings[@]}"
        ) &
        runs+=($!)
    done
    for run in "${runs[@]}"; do wait "$run" || status=1; done
    if [ "$status" != 0 ]; then
        failed+=(scaling)
        return 0
    fi
    ranks=${#gpus[@]} CUDA_VISIBLE_DEVICES="$visible" train scaling-together 152m/sisa-d16 "${settings[@]}" || return 0
    "$SISA_PYTHON" scripts/gpu_results.py scaling "$output" "${gpus[@]}" || failed+=(scaling)
}
check_speed() {
    prepare || return 0
    run benchmarks/step.sh --sisa "$sisa" --data "$work/tokens" --tokenizer "$tokenizer" --steps "$steps" \
        --peer-steps "$peer_steps" --output "$output/speed" "${recipes[@]}" || failed+=(speed)
    rm -rf "$output"/speed/*.run
}

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader
"$sisa" --version
for part in "${words[@]}"; do
    say "$part"
    "check_$part"
done
say "done"
[ ${#failed[@]} = 0 ] || fail "Failed: ${failed[*]}. Logs are in $output."
