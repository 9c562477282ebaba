# Lists block devices, then the signatures that a probe of each device finds (lsblk's FSTYPE is udev's memory, and may be
# empty on a formatted disk). Changes nothing.
set -eu
lsblk --json --bytes --paths --output NAME,TYPE,SIZE,TRAN,WWN,SERIAL,MODEL,RO,MOUNTPOINT
for dev in $(lsblk --noheadings --list --paths --output NAME | sort -u); do
  printf 'signature %s %s\n' "$dev" "$(blkid --probe --output value --match-tag TYPE --match-tag PTTYPE "$dev" 2>/dev/null | tr '\n' ' ')"
done
