# shellcheck shell=bash
# To be sourced by scripts that start what takes minutes: what they started ends when they do, by Ctrl-C or SIGTERM too.
end_jobs() {
    jobs -p | xargs -r kill 2>/dev/null || true
    wait 2>/dev/null
}
finish() { :; }  # what else there is to do then, for the script to say
trap 'trap "" INT TERM; end_jobs; finish' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
