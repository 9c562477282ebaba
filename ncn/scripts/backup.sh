# Writes a tar archive of the named paths to standard output, and names those that do not exist on standard error.
# Arguments: how many paths, then the paths, relative to /. Changes nothing.
set -eu
IFS= read -r count
set --
while [ "$count" -gt 0 ]; do
  IFS= read -r path
  count=$((count - 1))
  if [ -e "/$path" ] || [ -L "/$path" ]; then
    set -- "$@" "$path"
  else
    printf 'absent %s\n' "$path" >&2
  fi
done
if [ "$#" -eq 0 ]; then
  exit 0
fi
exec tar --create --file=- --directory=/ --numeric-owner --sort=name -- "$@"
