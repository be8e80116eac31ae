#!/bin/sh
# gilder check AgentHealthy: the SSM agent runs, and starts at every boot.
# Reads only. Exit code 0: passed, 1: failed, 2: could not be checked.
set -eu
LC_ALL=C
export LC_ALL
root=${GILDER_ROOT:-}
# Below a planted root, only the planted commands count.
[ -n "$root" ] || PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
export PATH

ended=
trap '[ -n "$ended" ] || { echo "Could not be checked: stopped unexpectedly."; exit 2; }' EXIT
trap 'exit 2' HUP INT TERM

finish() { # CODE SENTENCE
  ended=yes
  printf '%s\n' "$2"
  exit "$1"
}

run() { # SECONDS COMMAND...
  seconds=$1
  shift
  if command -v timeout >/dev/null 2>&1; then
    timeout "$seconds" "$@" </dev/null
  else
    "$@" </dev/null
  fi
}

version() {
  for agent in "$root/usr/bin/amazon-ssm-agent" \
    "$root/snap/amazon-ssm-agent/current/amazon-ssm-agent"; do
    if [ -x "$agent" ]; then
      run 20 "$agent" -version 2>/dev/null || :
      return 0
    fi
  done
}

if ! command -v systemctl >/dev/null 2>&1; then
  finish 2 "Could not be checked: there is no systemctl, and only systemd is understood."
fi

unit=
for name in amazon-ssm-agent.service snap.amazon-ssm-agent.amazon-ssm-agent.service; do
  # A unit that is not there has the state "not-found", and older versions print nothing.
  load=$(run 20 systemctl show -p LoadState "$name" 2>/dev/null) || load=
  case $load in
    LoadState=loaded | LoadState=masked) unit=$name ;;
  esac
  [ -z "$unit" ] || break
done
if [ -z "$load" ]; then
  finish 2 "Could not be checked: systemd did not answer."
fi
if [ -z "$unit" ]; then
  finish 1 "There is no service of the SSM agent, neither from a package nor from a snap."
fi

active=$(run 20 systemctl is-active "$unit" 2>/dev/null) || :
enabled=$(run 20 systemctl is-enabled "$unit" 2>/dev/null) || :
found=$(version | tr -cd '\012\040-\176' | sed -n 's/.*[^0-9.]\([0-9][0-9.]*\)[^0-9.]*$/\1/p')
found=$(printf '%s\n' "$found" | sed -n 1p | cut -c1-40)
echo "service: $unit"
echo "state: ${active:-unknown}, at boot: ${enabled:-unknown}"
echo "version: ${found:-unknown}"

if [ "$active" != active ]; then
  finish 1 "The SSM agent does not run: its service is ${active:-in an unknown state}."
fi
case $enabled in
  enabled | static | generated | alias | indirect) ;;
  *) finish 1 "The SSM agent does not start at boot: its service is ${enabled:-unknown}." ;;
esac
finish 0 "The SSM agent ${found:-of unknown version} runs and starts at boot."
