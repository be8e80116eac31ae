#!/bin/sh
# gilder check NoSecrets: no passwords, keys or tokens are baked into the image.
# For an instance that was launched without key pair and without user data.
# Reads only, and names files and lines, never what is in them.
# Exit code 0: passed, 1: failed, 2: could not be checked.
set -eu
LC_ALL=C
export LC_ALL
root=${GILDER_ROOT:-}
# Below a planted root, only the planted commands count.
[ -n "$root" ] || PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
export PATH

most=5000 # files to look through for keys and tokens
blocks=513 # each smaller than so many blocks of 512 bytes
private='-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----'
token='(^|[^0-9A-Z])A[KS]IA[0-9A-Z]{16}([^0-9A-Z]|$)'
token="$token|gh[oprsu]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{22}|glpat-[0-9A-Za-z_-]{20}"
token="$token|xox[abprs]-[0-9A-Za-z-]{10}|sk_live_[0-9A-Za-z]{16}|npm_[0-9A-Za-z]{36}"
token="$token|[Ss][Ee][Cc][Rr][Ee][Tt]_[Aa][Cc][Cc][Ee][Ss][Ss]_[Kk][Ee][Yy][^0-9A-Za-z]{1,6}[0-9A-Za-z/+]{40}"
any='[^[:space:]]'
given='^[-[:space:]]*(passwd|password|plain_text_passwd|hashed_passwd|chpasswd|ssh_authorized_keys'
given="$given|ssh_keys)[[:space:]]*:"

ended=
trap '[ -n "$ended" ] || { echo "Could not be checked: stopped unexpectedly."; exit 2; }' EXIT
trap 'exit 2' HUP INT TERM

finish() { # CODE SENTENCE
  ended=yes
  printf '%s\n' "$2"
  exit "$1"
}

show() { # LINES: not more than 37, without control characters
  printf '%s\n' "$1" | tr -cd '\012\040-\176' | cut -c1-200 | sed -n 1,37p
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

lines() { # WHAT FILE PATTERN: names the first lines that match
  [ -f "$2" ] || return 0
  # AWS's own example of a key is in many a comment.
  head -c 1000000 "$2" | tr -d '\000' | sed 's/AKIAIOSFODNN7EXAMPLE//g' |
    grep -nE -e "$3" | cut -d: -f1 | sed -n 1,3p |
    while read -r number; do
      echo "${2#"$root"} line $number: $1"
    done
}

homes() { # of every account, also of those without a line in passwd
  {
    echo /root
    if [ -r "$root/etc/passwd" ]; then
      awk -F: '$6 ~ /^\// { print $6 }' "$root/etc/passwd"
    fi
    for home in "$root"/home/*; do
      printf '%s\n' "${home#"$root"}"
    done
  } | sed 's,/*$,,' | sort -u | sed -n 1,500p | while IFS= read -r home; do
    if [ -d "$root$home/" ]; then printf '%s\n' "$root$home"; fi
  done
}

at_home() { # HOME
  lines "authorized key" "$1/.ssh/authorized_keys" '^[[:space:]]*[^#[:space:]]'
  lines "authorized key" "$1/.ssh/authorized_keys2" '^[[:space:]]*[^#[:space:]]'
  lines "AWS credentials" "$1/.aws/credentials" '^[[:space:]]*aws_(secret|session)[a-z_]*[[:space:]]*='
  lines "AWS credentials" "$1/.aws/config" '^[[:space:]]*aws_(secret|session)[a-z_]*[[:space:]]*='
  lines "password" "$1/.netrc" 'password[[:space:]]+[^[:space:]]|password$'
  lines "Git credentials" "$1/.git-credentials" "$any"
  lines "Git credentials" "$1/.config/git/credentials" "$any"
  for file in "$1/.docker/config.json" "$1/.dockercfg"; do
    lines "registry login" "$file" \
      '"(auth|password|identitytoken|registrytoken)"[[:space:]]*:[[:space:]]*"[^"]'
  done
  lines "kubeconfig" "$1/.kube/config" "$any" | sed -n 1p
  lines "token" "$1/.npmrc" '_(auth|authToken|password)[[:space:]]*=[[:space:]]*[^$[:space:]]'
  lines "password" "$1/.pypirc" '^[[:space:]]*password[[:space:]]*[:=]'
  lines "password" "$1/.pgpass" '^[[:space:]]*[^#[:space:]]'
  lines "password" "$1/.my.cnf" '^[[:space:]]*password[[:space:]]*='
  lines "token" "$1/.vault-token" "$any"
  lines "token" "$1/.config/gh/hosts.yml" 'oauth_token:'
  lines "token" "$1/.terraform.d/credentials.tfrc.json" '"token"'
  lines "Google credentials" "$1/.config/gcloud/application_default_credentials.json" "$any" |
    sed -n 1p
  for file in "$1"/.*_history "$1/.history" "$1/.local/share/fish/fish_history"; do
    lines "history of commands" "$file" "$any" | sed -n 1p
  done
}

accounts() {
  for file in "$root/etc/shadow" "$root/etc/passwd"; do
    [ -f "$file" ] || continue
    awk -F: -v file="${file#"$root"}" '
      NF < 2 || $1 ~ /^[#+-]/ || $2 == "x" || $2 ~ /^[!*]/ { next }
      { print file " line " NR ": " ($2 == "" ? "no password" : "password hash") " of " $1 }
    ' "$file"
  done
}

cloud_init() {
  for file in "$root/etc/cloud/cloud.cfg" "$root"/etc/cloud/cloud.cfg.d/*.cfg; do
    lines "password or key for cloud-init" "$file" "$given"
  done
  # What this instance was given is not of the image.
  id=$(cat "$root/run/cloud-init/.instance-id" 2>/dev/null) || id=
  [ -n "$id" ] || id=$(cat "$root/sys/class/dmi/id/board_asset_tag" 2>/dev/null) || id=
  for folder in "$root"/var/lib/cloud/instances/*; do
    [ "${folder##*/}" != "$id" ] || continue
    for file in "$folder/user-data.txt" "$folder"/scripts/*; do
      lines "user data of another instance" "$file" "$any" | sed -n 1p
    done
  done
}

candidates() { # small files that may hold keys and tokens
  {
    find "$root/root" "$root/home" -maxdepth 6 -xdev \
      \( -name .cache -o -name node_modules -o -name site-packages \) -prune \
      -o -type f -size "-$blocks" -print 2>/dev/null || :
    for place in environment profile profile.d bash.bashrc bashrc default/grub sysconfig ssh; do
      find "$root/etc/$place" -maxdepth 2 -xdev -type f -size "-$blocks" \
        ! -name 'ssh_host_*_key' -print 2>/dev/null || :
    done
    homes | while IFS= read -r home; do
      find "$home/.ssh" -maxdepth 2 -xdev -type f -size "-$blocks" -print 2>/dev/null || :
    done
  } | head -n "$most" | sort -u
}

look() { # TIME
  homes | while IFS= read -r home; do at_home "$home"; done
  for file in "$root"/etc/ssh/authorized_keys "$root"/etc/ssh/authorized_keys*/*; do
    lines "authorized key" "$file" '^[[:space:]]*[^#[:space:]]'
  done
  accounts
  cloud_init
  for key in "$root"/etc/ssh/ssh_host_*_key; do
    if [ -s "$key" ] && earlier "$key" "$1"; then
      echo "${key#"$root"} line 1: SSH host key of the image"
    fi
  done
  # One grep over many files first: looking at each by itself takes too long.
  printf '%s\n' "$files" | tr '\n' '\000' |
    { xargs -0 grep -lE -e "$private|$token" /dev/null 2>/dev/null || :; } |
    while IFS= read -r file; do
      lines "private key" "$file" "$private"
      lines "token" "$file" "$token"
    done
}

for tool in awk cut find grep head sed sort stat tr xargs; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    finish 2 "Could not be checked: the command $tool is missing."
  fi
done
for file in "$root/etc/shadow" "$root/root"; do
  if [ -e "$file" ] && [ ! -r "$file" ]; then
    finish 2 "Could not be checked: ${file#"$root"} cannot be read, so run this as root."
  fi
done
time=$(started) || finish 2 "Could not be checked: /proc/stat does not tell when this boot was."

files=$(candidates)
# A line is told once, by the first that found it.
found=$(look "$time" | awk -F ': ' '!seen[$1]++')
if [ "$(printf '%s\n' "$files" | wc -l)" -ge "$((most - 500))" ]; then
  echo "note: only the first $most or so small files were looked through for tokens"
fi
if [ -n "$found" ]; then
  count=$(($(printf '%s\n' "$found" | wc -l)))
  show "$found"
  if [ "$count" -gt 37 ]; then echo "... and $((count - 37)) more"; fi
  finish 1 "Found in the image: $count that should not be there (passwords, keys, tokens, histories)."
fi
finish 0 "No baked-in passwords, keys or tokens were found."
