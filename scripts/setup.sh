#!/usr/bin/env bash
# Looks for everything that is needed to build and run the program, and installs what is missing. Sourced by quickstart.sh and test.sh,
# which use the environment that it sets up; run by itself, it only installs.
#   SISA_NO_APT=1        never call apt: what is missing must be there otherwise (conda, modules: CMAKE_PREFIX_PATH)
#   SISA_PYTHON=PROGRAM  a Python interpreter that has torch 2.11.0; without it .venv in the checkout is made and used
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
logs="$root/build"
mkdir -p "$logs"

# Debian's and Ubuntu's packages. bible-kjv and bible-kjv-text bring the quickstart's text, clang-format the check of our style.
packages=(g++ cmake ninja-build ccache python3 python3-venv openmpi-bin libopenmpi-dev libhdf5-dev libyaml-cpp-dev libcli11-dev
    nlohmann-json3-dev libzstd-dev zlib1g-dev libxxhash-dev libgtest-dev libgmock-dev clang-format bible-kjv bible-kjv-text)
# Optional packages: ccache only makes later builds faster, and the test of the style is skipped without clang-format.
dispensable=(ccache clang-format)

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
refuse() { printf '%s\n' "$*" >&2; exit 2; }  # what only the user can mend

stage() {  # says what begins
    stage_start=$SECONDS
    printf '\n==> %s\n' "$*"
}
stage_done() { printf '    %s (%d s)\n' "${1:-done}" $((SECONDS - stage_start)); }

# logged NAME COMMAND…: runs a command with its output in build/NAME.log. Prints the log's last line every ten seconds, and the end of
# the log if the command fails.
logged() {
    local log="$logs/$1.log" begin=$SECONDS status=0
    shift
    : >"$log"
    while sleep 10 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        printf '    %4d s  %.90s\n' $((SECONDS - begin)) "$(tail -n 1 "$log" | tr -cd '[:print:]')"
    done &
    local heartbeat=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$heartbeat" 2>/dev/null || true
    wait "$heartbeat" 2>/dev/null || true
    [ "$status" = 0 ] && return
    tail -n 30 "$log" >&2
    printf '\nThis failed (exit status %d): %s\nThe whole log: %s\n' "$status" "$*" "$log" >&2
    return 1
}

installed_by_dpkg() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

at_least() { printf '%s\n%s\n' "$1" "$2" | sort --check=quiet --version-sort; }  # MINIMUM FOUND

check_cmake() {
    local version
    version="$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')"
    at_least 3.25 "$version" ||
        refuse "CMake $version is too old: 3.25 or newer is needed. Put a newer one first on the PATH ('pip install cmake' brings it)."
}

# Whether what a package provides is there without it. For libraries the answer is CMake's, in `libraries_missing`.
found_otherwise() {
    case "$1" in
        g++) command -v "${CXX:-c++}" ;;
        cmake) command -v cmake ;;
        ninja-build) command -v ninja ;;
        ccache | clang-format) command -v "$1" ;;
        python3) [ -n "${SISA_PYTHON:-}" ] || command -v python3 ;;
        python3-venv) [ -n "${SISA_PYTHON:-}" ] || python3 -c 'import ensurepip, venv' ;;
        openmpi-bin) command -v mpirun ;;
        bible-kjv | bible-kjv-text) [ -s "$root/runs/quickstart/king-james.txt" ] || bible -f Gen1:1 ;;
        *) [[ " $libraries_missing " != *" $1 "* ]] ;;
    esac >/dev/null 2>&1
}

# Sets `missing` to the packages that are not installed and whose content is not found either.
find_missing() {
    local package libraries_missing="${packages[*]}" absent=()
    missing=()
    for package in "${packages[@]}"; do
        if [ -n "${SISA_NO_APT:-}" ] || ! installed_by_dpkg "$package"; then absent+=("$package"); fi
    done
    [ ${#absent[@]} -gt 0 ] || return 0
    if command -v cmake >/dev/null && command -v ninja >/dev/null && command -v "${CXX:-c++}" >/dev/null; then
        check_cmake
        logged probe cmake -S "$root/scripts/probe" -B "$root/build/probe" -G Ninja --fresh ||
            fail "CMake could not look for libraries."
        libraries_missing="$(sed -n 's/^-- missing: //p' "$logs/probe.log")"
    fi
    for package in "${absent[@]}"; do
        found_otherwise "$package" || missing+=("$package")
    done
}

# Prints why apt cannot be used, or nothing if it can.
apt_refusal() {
    if [ -n "${SISA_NO_APT:-}" ]; then
        say "SISA_NO_APT is set, so apt was not asked."
    elif ! command -v apt-get >/dev/null; then
        say "There is no apt-get here."
    elif [ "$(id -u)" != 0 ] && ! { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; then
        say "You are not root, and sudo is not to be had."
    fi
}

install_packages() {
    local as_root=() refusal package needed=()
    find_missing
    [ ${#missing[@]} -gt 0 ] || return 0
    refusal="$(apt_refusal)"
    if [ -n "$refusal" ]; then
        for package in "${missing[@]}"; do
            if [[ " ${dispensable[*]} " != *" $package "* ]]; then needed+=("$package"); fi
        done
        [ ${#needed[@]} -gt 0 ] || return 0
        missing=("${needed[@]}")
        refuse_missing "$refusal"
    fi
    if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
    stage "Installing ${#missing[@]} packages: ${missing[*]}"
    if [ ${#as_root[@]} -gt 0 ]; then sudo true || refuse_missing "sudo did not let you."; fi  # asks for a password, if it must
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    logged apt-update "${as_root[@]}" apt-get update || fail "apt could not fetch its lists. Is there a network?"
    logged apt "${as_root[@]}" apt-get install --yes --no-install-recommends "${missing[@]}" || fail "apt could not install the packages."
    stage_done installed
}

refuse_missing() {
    refuse "$1 Missing, by the names of Debian's packages:
    ${missing[*]}
Ask your administrator for them, or bring the same from conda-forge or your cluster's modules and name their folders in
CMAKE_PREFIX_PATH (README.md, \"Without apt\"); then call this again."
}

torch_version() {  # prints the version of an interpreter's torch without a suffix such as +cpu; nothing if it has no torch
    "$1" -c 'import importlib.metadata as m; print(m.version("torch").split("+")[0])' 2>/dev/null || true
}

install_libtorch() {
    local wanted
    wanted="$(sed -n 's/^torch==//p' "$root/scripts/requirements.txt")"
    if [ -n "${SISA_PYTHON:-}" ]; then
        [ "$(torch_version "$SISA_PYTHON")" = "$wanted" ] ||
            refuse "SISA_PYTHON=$SISA_PYTHON has torch '$(torch_version "$SISA_PYTHON")', but $wanted is needed. Install torch==$wanted there, or unset SISA_PYTHON to have it in .venv."
        SISA_PYTHON="$(command -v "$SISA_PYTHON")"
        return
    fi
    SISA_PYTHON="$root/.venv/bin/python"
    [ "$(torch_version "$SISA_PYTHON")" != "$wanted" ] || return 0
    stage "Installing LibTorch $wanted into .venv (4.6 GB, about a minute)"
    if [ ! -e "$root/.venv" ]; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            refuse "$(python3 --version) is too old: torch $wanted wants Python 3.10 or newer. Name another interpreter that has torch in SISA_PYTHON."
        logged venv python3 -m venv "$root/.venv" || fail "Python could not make the environment .venv."
    fi
    "$SISA_PYTHON" -c 'import pip' 2>/dev/null || refuse "$root/.venv is there, but its Python or pip does not work. Remove it, then call this again."
    logged pip "$SISA_PYTHON" -m pip install --disable-pip-version-check --no-input -r "$root/scripts/requirements.txt" ||
        fail "pip could not install torch. Is there a network, and room for 5 GB?"
    stage_done installed
}

# configure PRESET: does nothing if the preset was configured with the same Python; CMake itself notices changed CMake files.
configure() {
    local folder="$root/build/$1"
    if [ -f "$folder/build.ninja" ] && grep -qx "Python3_EXECUTABLE:[A-Z]*=$SISA_PYTHON" "$folder/CMakeCache.txt"; then return 0; fi
    stage "Configuring the build (preset $1)"
    (cd "$root" && logged "configure-$1" cmake --fresh --preset "$1" -DPython3_EXECUTABLE="$SISA_PYTHON") ||
        fail "CMake could not configure the build."
    sed -n 's/^-- \(CUDA [0-9].*\|No CUDA.*\)/    \1/p' "$logs/configure-$1.log"
    stage_done configured
}

# build PRESET TARGET: on as many cores as memory allows (a compiler needs about 1.5 GB to read LibTorch's headers).
build() {
    local jobs memory
    jobs="$(nproc)"
    memory="$(awk '/^MemAvailable/ {print int($2 / 1572864)}' /proc/meminfo)"
    if [ "$memory" -lt "$jobs" ]; then jobs=$((memory > 0 ? memory : 1)); fi
    stage "Building (target $2, preset $1, $jobs at a time)"
    logged "build-$1" cmake --build "$root/build/$1" --target "$2" --parallel "$jobs" || fail "The build failed."
    stage_done built
}

# shellcheck source=scripts/environment.sh
. "$root/scripts/environment.sh"
install_packages
check_cmake
install_libtorch
export SISA_PYTHON
