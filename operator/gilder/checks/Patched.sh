#!/bin/sh
# gilder check Patched: no security updates are pending, and no reboot.
# Changes no package. dnf, yum and zypper refresh their own cache; apt works in a scratch folder.
# Exit code 0: passed, 1: failed, 2: could not be checked.
set -eu
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export LC_ALL DEBIAN_FRONTEND
root=${GILDER_ROOT:-}
# Below a planted root, only the planted commands count.
[ -n "$root" ] || PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
export PATH
wait=${GILDER_PACKAGES_SECONDS:-300}

ended=
scratch=
# shellcheck disable=SC2317 # the trap calls it
leave() {
  [ -z "$scratch" ] || rm -rf "$scratch"
  [ -n "$ended" ] || { echo "Could not be checked: stopped unexpectedly."; exit 2; }
}
trap leave EXIT
trap 'exit 2' HUP INT TERM

finish() { # CODE SENTENCE
  ended=yes
  printf '%s\n' "$2"
  exit "$1"
}

# Not more than 36 lines, without control characters and passwords in addresses.
show() { # LINES
  printf '%s\n' "$1" | tr -cd '\012\040-\176' | sed 's,//[^/@ ]*@,//***@,g' | cut -c1-200 |
    sed -n 1,36p
}

could_not() { # ANSWER SENTENCE
  show "$(printf '%s\n' "$1" | sed -n '/./p' | tail -n 15)"
  finish 2 "Could not be checked: $2"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

ask() { # COMMAND...: sets answer and code
  code=0
  if has timeout; then
    answer=$(timeout "$wait" "$@" </dev/null 2>&1) || code=$?
  else
    answer=$("$@" </dev/null 2>&1) || code=$?
  fi
  case $code in
    124 | 143) could_not "$answer" "$1 was not done after $wait seconds." ;;
  esac
}

says() { # PATTERN: whether the answer has such a line
  printf '%s\n' "$answer" | grep -qE -e "$1"
}

release() { # KEY: from os-release
  [ -r "$root/etc/os-release" ] || return 0
  sed -n "s/^$1=//p" "$root/etc/os-release" | tr -d "\"'" | sed -n 1p
}

no_repositories="cannot reach its repositories, or has none."
trouble='Failed to (download|synchronize|fetch)|Ignoring repositories|Could not resolve'
trouble="$trouble|Cannot (download|retrieve|prepare|find a valid baseurl)|Curl error"
trouble="$trouble|no enabled repos|Errors during downloading"

with_dnf() { # dnf or yum: sets pending
  tool=$1
  security=--security
  # Many images have repositories that may be skipped silently. Here each must answer.
  set -- "$tool" -q check-update '--setopt=*.skip_if_unavailable=0'
  if [ "$tool" = dnf ]; then
    set -- "$@" --refresh # what is known may be as old as the image
  else
    set -- "$@" '--setopt=*.metadata_expire=1'
  fi
  case $(release ID)-$(release VERSION_ID) in
    # Locked to the release that the image was made from, which never has updates.
    amzn-2023*) set -- "$@" --releasever=latest ;;
    # Its repositories do not say which updates are for security, so all count.
    centos-*) security= ;;
  esac
  [ -z "$security" ] || set -- "$@" "$security"
  ask "$@"
  if says "$trouble"; then could_not "$answer" "$tool $no_repositories"; fi
  case $code in
    0) pending= ;;
    100)
      pending=$(printf '%s\n' "$answer" |
        awk '/^Obsoleting/ { exit } NF >= 3 && $1 ~ /\.[a-z0-9_]+$/ { print $1, $2 }')
      [ -n "$pending" ] || pending="updates that $tool does not list"
      ;;
    *) could_not "$answer" "$tool failed with exit code $code." ;;
  esac
}

with_apt() { # sets pending
  # The image's own lists are often removed or old. They are left as they are.
  scratch=$(mktemp -d "$root/tmp/gilder-patched.XXXXXX")
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
  set -- -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache" \
    -o APT::Sandbox::User=root -o Debug::NoLocking=1
  ask apt-get "$@" -o APT::Update::Error-Mode=any update
  # Older versions only warn of an index that they could not get.
  if [ "$code" -ne 0 ] || says '^(E:|Err:)|Failed to fetch|index files failed'; then
    could_not "$answer" "apt $no_repositories"
  fi
  if ! find "$scratch/lists" -type f -name '*[Ss]ecurity*' | grep -q .; then
    could_not "" "apt has no source of security updates."
  fi
  # dist-upgrade, because a new kernel is a new package. Held packages count too.
  ask apt-get "$@" -s --ignore-hold -o APT::Get::Always-Include-Phased-Updates=true dist-upgrade
  if [ "$code" -ne 0 ]; then
    could_not "$answer" "apt failed with exit code $code."
  fi
  pending=$(printf '%s\n' "$answer" | grep -E '^Inst [^(]*[(].*(Debian-Security:|[-/][Ss]ecurity)' |
    sed 's/^Inst //') || pending=
}

with_zypper() { # sets pending
  ask zypper --non-interactive refresh
  if [ "$code" -ne 0 ]; then could_not "$answer" "zypper $no_repositories"; fi
  ask zypper --non-interactive --quiet list-patches --category security
  case $code in
    0 | 100 | 101) ;;
    *) could_not "$answer" "zypper failed with exit code $code." ;;
  esac
  pending=$(printf '%s\n' "$answer" | grep -E '\|[[:space:]]*needed' |
    awk -F '|' '{ gsub(/ /, "", $2); print $2 }') || pending=
}

reboot() { # prints why, when a reboot is needed
  for file in run/reboot-required var/run/reboot-required run/reboot-needed; do
    if [ -e "$root/$file" ]; then
      echo "a reboot is needed: /$file is there"
      return 0
    fi
  done
  if has needs-restarting; then
    ask needs-restarting -r
    if [ "$code" -ne 0 ] && says '[Rr]eboot is required'; then
      echo "a reboot is needed: says needs-restarting"
    fi
  elif [ "$manager" = zypper ]; then
    ask zypper --non-interactive needs-rebooting
    if [ "$code" -eq 102 ]; then echo "a reboot is needed: says zypper"; fi
  fi
}

manager=
if [ -e "$root/etc/debian_version" ] && has apt-get; then
  manager=apt-get
else
  for name in dnf yum zypper apt-get; do
    if has "$name"; then
      manager=$name
      break
    fi
  done
fi
case $manager in
  apt-get) with_apt ;;
  dnf | yum) with_dnf "$manager" ;;
  zypper) with_zypper ;;
  *) finish 2 "Could not be checked: there is none of dnf, yum, apt-get and zypper." ;;
esac
again=$(reboot) || again=

if [ -n "$pending" ]; then
  show "$pending"
  count=$(($(printf '%s\n' "$pending" | wc -l)))
  if [ "$count" -gt 36 ]; then echo "... and $((count - 36)) more"; fi
  [ -z "$again" ] || show "$again"
  finish 1 "Security updates are pending: $count by $manager."
fi
if [ -n "$again" ]; then
  show "$again"
  finish 1 "Updates were installed, but need a reboot to take effect."
fi
finish 0 "No security updates are pending, says $manager."
