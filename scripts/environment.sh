# shellcheck shell=sh
# Settings of Open MPI for `mpirun sisa` on a workstation; see "mpirun" in README.md. To be sourced: . scripts/environment.sh
# Variables that are set already keep their values.
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"            # more ranks than cores
export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"       # a rank's threads may use every core
export OMPI_MCA_odls_base_sigkill_timeout="${OMPI_MCA_odls_base_sigkill_timeout:-5}"          # seconds to save in after one signal (a second one kills); see README.md
if [ "$(id -u)" = 0 ]; then  # mpirun refuses to run as root unless told twice
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
