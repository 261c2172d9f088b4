#!/usr/bin/env bash
# From a fresh checkout to a trained model: installs what is missing, builds, trains a small SISA model on the King James Bible with
# several ranks, stops halfway, resumes with another number of ranks, scores held-out text and writes some. Call it again at any time:
# what is done is skipped, and an interrupted run goes on.
set -euo pipefail
case "${1:-}" in
    "") ;;
    *)
        sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
        [ "$1" = --help ] || [ "$1" = -h ] || exit 2
        exit
        ;;
esac

recipe=recipes/quickstart.yaml
run=runs/quickstart
validation=0.05         # share of the text that training never sees
first_ranks=2           # mpirun -n of the first half
stop_after="195 steps"  # half of the recipe's
second_ranks=1          # of the second half
prompt="And God said"

# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
sisa=build/release/sisa
trap 'say; say "Stopped. Call scripts/quickstart.sh again to go on from there."; exit 130' INT

configure release
build release sisa

text=$run/king-james.txt
if [ ! -s "$text" ]; then
    stage "Writing the text: the King James Bible, 4.4 MB, to $text"
    mkdir -p "$run"
    bible -f 'Gen1:1-Rev22:21' >"$text.part" </dev/null || fail "The program bible (package bible-kjv) could not print its text."
    mv "$text.part" "$text"
    stage_done written
fi

if [ ! -e "$run/data/manifest.json" ]; then  # which is written last
    stage "Preparing it: bytes as tokens, $validation of it held out"
    "$sisa" data prepare "$text" --tokenizer bytes --output "$run/data" --validation "$validation" || fail "The text could not be prepared."
    stage_done prepared
fi

train() {  # RANKS ARGUMENT…
    local ranks="$1"
    shift
    mpirun -n "$ranks" "$sisa" train "$recipe" --output "$run" --set "data.sources=[{path: $run/data}]" --resume auto "$@" </dev/null ||
        fail "Training failed; what it last said is above. Its checkpoints in $run/checkpoints are as they were."
}

if [ ! -e "$run/checkpoints/latest" ]; then
    stage "Training the first half with $first_ranks ranks"
    train "$first_ranks" --stop-after "$stop_after"
    stage_done "stopped on purpose"
fi
stage "Training on to the end with another number of ranks: $second_ranks"
train "$second_ranks"
stage_done trained

stage "Scoring the held-out text, beside a byte-bigram model"
"$sisa" evaluate "$run" </dev/null || fail "The evaluation failed."
stage_done scored

stage "Writing text after \"$prompt\""
"$sisa" generate "$run" --prompt "$prompt" --max-tokens 400 --temperature 0.8 --seed 1 </dev/null || fail "The model wrote nothing."
stage_done

cat <<EOF

All of it took $((SECONDS / 60)) min $((SECONDS % 60)) s. What next, from $root:
  . scripts/environment.sh    sets what mpirun wants here; first of all
  $sisa plan $recipe    shows the model, its memory and its steps
  $sisa doctor    checks MPI, GPUs, NCCL and HDF5
Your own text, a file or several:
  mpirun -n 2 $sisa train $recipe --output runs/mine --set 'data.sources=[{path: my.txt}]'
On GPUs, one rank each (a build made where nvcc is found):
  mpirun -n 1 $sisa train $recipe --output runs/gpu --set run.device=cuda --set 'data.sources=[{path: $run/data}]'
All tests:
  scripts/test.sh
EOF
