# shellcheck shell=bash
# Sourced by scripts that start long jobs. When such a script ends, also by Ctrl-C or SIGTERM, its jobs are ended too.
end_jobs() {
    jobs -p | xargs -r kill 2>/dev/null || true
    wait 2>/dev/null
}
finish() { :; }  # a script may define what else is to be done then
trap 'trap "" INT TERM; end_jobs; finish' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
