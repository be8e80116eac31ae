#!/bin/sh
# gilder check CloudInitHealthy: cloud-init came to its end without errors.
# Reads only. Exit code 0: passed, 1: failed, 2: could not be checked.
set -eu
LC_ALL=C
export LC_ALL
root=${GILDER_ROOT:-}
# Below a planted root, only the planted commands count.
[ -n "$root" ] || PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
export PATH
wait=${GILDER_CLOUD_INIT_SECONDS:-300}

ended=
trap '[ -n "$ended" ] || { echo "Could not be checked: stopped unexpectedly."; exit 2; }' EXIT
trap 'exit 2' HUP INT TERM

finish() { # CODE SENTENCE
  ended=yes
  printf '%s\n' "$2"
  exit "$1"
}

show() { # LINES: not more than 36, without control characters
  printf '%s\n' "$1" | tr '\t' ' ' | tr -cd '\012\040-\176' | cut -c1-200 | sed -n 1,36p
}

if ! command -v cloud-init >/dev/null 2>&1; then
  finish 2 "Could not be checked: cloud-init is not installed."
fi
if ! command -v timeout >/dev/null 2>&1; then
  finish 2 "Could not be checked: there is no timeout command to bound the wait with."
fi

code=0
answer=$(timeout "$wait" cloud-init status --wait --long </dev/null 2>&1) || code=$?
# --wait prints dots, which older versions leave on the line of the status.
status=$(printf '%s\n' "$answer" | sed -n 's/^\.*status: *//p' | sed -n 1p)
extended=$(printf '%s\n' "$answer" | sed -n 's/^extended_status: *//p' | sed -n 1p)
recoverable=$(printf '%s\n' "$answer" | sed -n '/^recoverable_errors:/,$p')
details=$(printf '%s\n' "$answer" | sed -n '/^detail:/,$p')

case $code in
  124 | 143) finish 1 "cloud-init was still at work after $wait seconds." ;;
esac
case $status in
  done)
    # Distributions differ in the exit code of a degraded end (0 or 2), so the words count too.
    degraded=
    case $extended in *degraded*) degraded=yes ;; esac
    case $recoverable in '' | 'recoverable_errors: {}'*) ;; *) degraded=yes ;; esac
    if [ -n "$degraded" ] || [ "$code" -eq 2 ]; then
      show "${recoverable:-$details}"
      finish 1 "cloud-init ended degraded: with errors it could recover from."
    fi
    if [ "$code" -ne 0 ]; then
      show "$details"
      finish 1 "cloud-init says done, but its status has the exit code $code."
    fi
    finish 0 "cloud-init is done, without errors."
    ;;
  error*)
    show "$details"
    finish 1 "cloud-init ended with errors."
    ;;
  disabled)
    finish 1 "cloud-init is disabled, so it did nothing at this boot."
    ;;
  '')
    show "$answer"
    finish 2 "Could not be checked: cloud-init status gave no status (exit code $code)."
    ;;
  *)
    show "$details"
    finish 1 "cloud-init is not done: $(show "$status")."
    ;;
esac
