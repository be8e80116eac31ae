#!/bin/sh
# gilder check NoHostKeys: SSH host keys and machine id were made by this instance.
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

show() { # LINES: not more than 38, without control characters
  printf '%s\n' "$1" | tr -cd '\012\040-\176' | cut -c1-200 | sed -n 1,38p
}

# shared: times
# Prints the time in seconds before which a file must come from the image.
started() {
  born=$(awk '$1 == "btime" { print $2 }' "$root/proc/stat" 2>/dev/null) || born=
  case $born in '' | *[!0-9]*) return 1 ;; esac
  # A first boot may have a reboot in it (SELinux labels, FIPS), so go back to when cloud-init
  # first saw this instance. /run is empty at boot, so this id cannot come from the image.
  current=$(cat "$root/run/cloud-init/.instance-id" 2>/dev/null) || current=
  case $current in
    '' | */* | .*) ;;
    *)
      for mark in "$root/var/lib/cloud/instances/$current/sem"/*; do
        [ -f "$mark" ] || continue
        at=$(stat -c %Y "$mark")
        if [ "$at" -lt "$born" ]; then born=$at; fi
      done
      ;;
  esac
  # The clock may be set a little during boot. No image is made and launched within two minutes.
  echo $((born - 120))
}

older() { # FILE TIME: whether its content was there before that time
  changed=$(stat -c %Y "$1")
  [ "$changed" -lt "$2" ]
}

earlier() { # FILE TIME: whether the file itself was there, even if it was touched since
  birth=$(stat -c %W "$1" 2>/dev/null) || birth=
  case $birth in '' | 0 | *[!0-9]*) birth=$2 ;; esac
  older "$1" "$2" || [ "$birth" -lt "$2" ]
}
# end of shared

host_keys() {
  for key in "$root"/etc/ssh/ssh_host_*_key "$root"/etc/dropbear/*_host_key; do
    printf '%s\n' "$key"
  done
  # Keys that sshd is told to take from elsewhere.
  for config in "$root"/etc/ssh/sshd_config "$root"/etc/ssh/sshd_config.d/*.conf; do
    [ -f "$config" ] || continue
    awk -v root="$root" 'tolower($1) == "hostkey" && $2 ~ /^\// { print root $2 }' "$config"
  done
}

look() { # TIME
  host_keys | sort -u | while IFS= read -r key; do
    [ -s "$key" ] || continue
    if earlier "$key" "$1"; then
      echo "SSH host key of the image: ${key#"$root"}"
    fi
  done
  # systemd fills an empty machine-id in place, so only the time of its content tells.
  id=$root/etc/machine-id
  if [ -s "$id" ] && older "$id" "$1" && ! grep -q '^uninitialized' "$id"; then
    echo "machine id of the image: /etc/machine-id"
  fi
  # systemd takes the id of D-Bus when /etc/machine-id is empty: it then only looks new.
  id=$root/var/lib/dbus/machine-id
  if [ -s "$id" ] && [ ! -L "$id" ] && older "$id" "$1"; then
    echo "machine id of the image: /var/lib/dbus/machine-id"
  fi
}

for tool in awk cut grep sed sort stat tr; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    finish 2 "Could not be checked: the command $tool is missing."
  fi
done
if ! stat -c %Y / >/dev/null 2>&1; then
  finish 2 "Could not be checked: stat cannot print times of files."
fi
time=$(started) || finish 2 "Could not be checked: /proc/stat does not tell when this boot was."

found=$(look "$time")
if [ -n "$found" ]; then
  show "$found"
  finish 1 "Baked into the image, so that all its instances share it: see the lines above."
fi
finish 0 "SSH host keys and machine id were made by this instance, or there are none."
