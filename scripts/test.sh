#!/usr/bin/env bash
# Installs what is missing, builds everything and runs the tests; the last line counts them. Fails if a test failed or none ran.
set -euo pipefail

usage() {
    cat <<EOF
Usage: scripts/test.sh [--slow] [--gpu] [--preset NAME] [-- CTEST-ARGUMENT…]
  --slow         also the tests that take minutes
  --gpu          also the tests that need a GPU
  --preset NAME  release (default), debug, asan or cpu
What follows -- goes to ctest: scripts/test.sh -- -R parallel --output-on-failure
EOF
}

preset=release excluded=(slow gpu)
while [ $# -gt 0 ]; do
    case "$1" in
        --slow) excluded=("${excluded[@]/slow/}") ;;
        --gpu) excluded=("${excluded[@]/gpu/}") ;;
        --preset)
            preset="${2:-}"
            case "$preset" in
                release | debug | asan | cpu) shift ;;
                *)
                    echo "There is no preset '$preset'; choose release, debug, asan or cpu." >&2
                    exit 2
                    ;;
            esac
            ;;
        --help | -h)
            usage
            exit
            ;;
        --)
            shift
            break
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    shift
done

# shellcheck source=scripts/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

modules_present() {  # whether Python has the packages in tests/requirements.txt
    "$SISA_PYTHON" - "$root/tests/requirements.txt" <<'EOF' 2>/dev/null
import importlib.metadata, re, sys
for name, version, marker in re.findall(r"^(\w+)==([\w.]+)(?:; python_version (.*))?$", open(sys.argv[1]).read(), re.MULTILINE):
    old = sys.version_info < (3, 11)
    if (not marker or old == marker.startswith("<")) and importlib.metadata.version(name) != version:
        sys.exit(1)
EOF
}

if ! modules_present; then
    [ "$SISA_PYTHON" = "$root/.venv/bin/python" ] ||
        refuse "$SISA_PYTHON lacks what tests/requirements.txt names. Install that there, or unset SISA_PYTHON to have it in .venv."
    stage "Installing the tests' Python modules into .venv"
    logged pip-tests "$SISA_PYTHON" -m pip install --disable-pip-version-check --no-input -r "$root/tests/requirements.txt" ||
        fail "pip could not install tests/requirements.txt. Is there a network?"
    stage_done installed
fi
configure "$preset"
build "$preset" all

selection=()
labels="$(printf '%s\n' "${excluded[@]}" | paste -sd '|' | sed 's/^|*//; s/|*$//')"
if [ -n "$labels" ]; then selection=(--label-exclude "^($labels)\$"); fi
results="$root/build/$preset/test-results.xml"
rm -f "$results"
if [ "$preset" = asan ]; then export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=0}"; fi  # MPI and CUDA keep memory to the end
stage "Running the tests"
# Four tests at a time on two cores, because the ranks of an MPI test wait for one another much of the time.
ctest --test-dir "$root/build/$preset" --parallel 4 --output-on-failure --output-junit "$results" "${selection[@]}" "$@" || true
num_all="$(ctest --test-dir "$root/build/$preset" --show-only "$@" | sed -n 's/^Total Tests: //p')"
exec "$SISA_PYTHON" "$root/scripts/count_tests.py" "$results" "${num_all:-0}"
