# Prints the SHA-256 sums of the named files, and "absent" for those that do not exist or are no regular files.
# Arguments: how many paths, then the paths, relative to /. Changes nothing.
set -eu
IFS= read -r count
while [ "$count" -gt 0 ]; do
  IFS= read -r path
  count=$((count - 1))
  if [ -f "/$path" ] && ! [ -L "/$path" ]; then
    sum=$(sha256sum <"/$path")
    printf '%s %s\n' "${sum%% *}" "$path"
  else
    printf 'absent %s\n' "$path"
  fi
done
