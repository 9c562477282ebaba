# Tells how far the wipe of a run has come on this boot. Argument: run. Changes nothing.
set -eu
IFS= read -r run
dir=/run/lifecycle/wipe/$run
printf 'boot %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
if ! [ -e "$dir/token" ]; then
  printf 'absent\n'
  exit 0
fi
if [ -e "$dir/state" ]; then
  cat "$dir/state"
  read -r _ pid <"$dir/state"
  if kill -0 "$pid" 2>/dev/null; then
    printf 'alive\n'
  fi
fi
printf 'end\n'
