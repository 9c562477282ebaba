# Tells how far the wipe of a run has come on this boot. Argument: run. Changes nothing.
set -eu
IFS= read -r run
dir=/run/lifecycle/wipe/$run
printf 'xname %s\n' "$(cat /etc/cray/xname)"
printf 'uuid %s\n' "$(cat /sys/class/dmi/id/product_uuid)"
printf 'boot %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
if ! [ -e "$dir/token" ]; then
  printf 'absent\n'
  exit 0
fi
if [ -e "$dir/state" ]; then
  # Whether it lives comes first: what it writes before it ends is then seen.
  alive=
  read -r _ pid <"$dir/state" || pid=
  if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
    alive=yes
  fi
  cat "$dir/state"
  [ -z "$alive" ] || printf 'alive\n'
fi
printf 'end\n'
