#!/usr/bin/env bash
# Installs, from Debian, the servers and clients that the tests of this module talk to. What is there already is left alone,
# and no service is started. A package that cannot be downloaded is named in .not-installed, and the tests that need it are
# skipped by name; whatever else goes wrong is an error.
set -euo pipefail
cd "$(dirname "$0")"
record=.not-installed
export DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

# Package and the program of it that is looked for.
wanted='openssh-server sshd
openipmi ipmi_sim
ipmitool ipmitool
freeipmi-tools ipmipower'

rm -f "$record"
# look fills in missing.
look() {
  missing=()
  while read -r package program; do
    command -v "$program" >/dev/null || missing+=("$package")
  done <<<"$wanted"
}

look
if [ ${#missing[@]} -eq 0 ]; then
  echo 'itest: everything is installed'
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "itest: install ${missing[*]} first; this script can do so as root on Debian" >&2
  exit 1
fi

# policy-rc.d with 101 keeps the packages' scripts from starting anything. One that is there is somebody else's.
policy=/usr/sbin/policy-rc.d
if [ -e "$policy" ]; then
  status=0
  "$policy" ssh start >/dev/null 2>&1 || status=$?
  if [ "$status" -ne 101 ]; then
    echo "itest: $policy lets services start; install ${missing[*]} by hand" >&2
    exit 1
  fi
else
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

# try runs a command that needs the network, up to three times.
try() {
  local wait
  for wait in 5 20 0; do
    if "$@"; then
      return 0
    fi
    sleep "$wait"
  done
  return 1
}

apt=(apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)
try "${apt[@]}" update || echo 'itest: the lists of packages could not be brought up to date' >&2
for package in "${missing[@]}"; do
  if try "${apt[@]}" install -y --no-install-recommends --download-only "$package"; then
    "${apt[@]}" install -y --no-install-recommends "$package" >/dev/null
    echo "itest: installed $package"
  else
    echo "$package" >>"$record"
    echo "SKIPPED $package: it could not be downloaded"
  fi
done

look
for package in "${missing[@]}"; do
  if ! grep -qsx "$package" "$record"; then
    echo "itest: $package is installed, and its program is not there" >&2
    exit 1
  fi
done
