# Starts the erasing of disks as a process of its own, so that a dropped connection neither stops it half-way nor hides
# its result, and tells "started", "already" (the token of this wipe exists on this boot) or "stale" (a later driver was
# here). Arguments: run, epoch. Then, to the end of input, one "tag value" per line:
#   xname, uuid, boot      what this machine must be, and the boot that the plan saw
#   digest                 SHA-256 of what disks.sh must print: the state that was judged is the state that is erased
#   service, umount, group, array, disk      what to stop, to unmount, to deactivate and remove, to stop, to erase
set -eu
umask 077
IFS= read -r run
IFS= read -r epoch
dir=/run/lifecycle/wipe/$run
mkdir -p "$dir"
if [ -e "$dir/epoch" ] && [ "$(cat "$dir/epoch")" -gt "$epoch" ]; then
  printf 'stale\n'
  exit 0
fi
printf '%s\n' "$epoch" >"$dir/epoch"
if [ -e "$dir/token" ]; then
  printf 'already\n'
  exit 0
fi
input=$dir/input.$epoch.$$
body=$dir/body.$epoch.$$
cat >"$input"
cat >"$body" <<'BODY'
set -u
dir=$1
input=$2
mkdir "$dir/token" 2>/dev/null || exit 0
say() { printf '%s\n' "$*" >>"$dir/state"; }
refuse() {
  say "refused $*"
  exit 1
}
fail() {
  say "failed $*"
  exit 1
}
each() {
  while IFS=' ' read -r tag value; do
    case $tag in
    "$1") printf '%s\n' "$value" ;;
    esac
  done <"$input"
}
same() {
  want=$(each "$1")
  got=$(cat "$2")
  [ -n "$want" ] && [ "$got" = "$want" ] || refuse "this machine's $1 is $got, the plan's is $want"
}
snapshot() {
  lsblk --json --bytes --paths --output NAME,TYPE,SIZE,TRAN,WWN,SERIAL,MODEL,RO,MOUNTPOINT
  for dev in $(lsblk --noheadings --list --paths --output NAME | sort -u); do
    printf 'signature %s %s\n' "$dev" "$(blkid --probe --output value --match-tag TYPE --match-tag PTTYPE "$dev" 2>/dev/null | tr '\n' ' ')"
  done
}
say "pid $$"

# Who is this, and is it as it was judged? Nothing has been changed so far.
same xname /etc/cray/xname
same uuid /sys/class/dmi/id/product_uuid
same boot /proc/sys/kernel/random/boot_id
[ "$(snapshot | sha256sum)" = "$(each digest)  -" ] || refuse 'the disks are not as they were when they were judged'
[ -n "$(each disk)" ] || refuse 'no disk is named'

# Stand down what uses the disks: nothing is written to them.
for unit in $(each service); do
  systemctl disable --now "$unit" >/dev/null 2>&1 || fail "service $unit does not stop"
done
for path in $(each umount); do
  umount "$path" || fail "$path does not unmount"
done
for group in $(each group); do
  vgchange --activate n "$group" >/dev/null || fail "volume group $group is in use"
done
for array in $(each array); do
  mdadm --stop "$array" || fail "array $array is in use"
done

# Every check for every disk before the first write to any.
for disk in $(each disk); do
  [ -z "$(lsblk --noheadings --list --output MOUNTPOINT "$disk" | tr -d ' \n')" ] || fail "$disk is mounted"
  [ -z "$(lsblk --noheadings --list --output TYPE "$disk" | grep -v -e '^disk *$' -e '^part *$')" ] || fail "$disk is held"
done

# The mark by which a node is known that was not installed anew afterwards.
mkdir -p /var/lib/lifecycle && printf '%s\n' "${dir##*/}" >/var/lib/lifecycle/wiped || fail 'the mark is not written'

say 'erasing'
for group in $(each group); do
  vgremove --force --yes "$group" >/dev/null || fail "volume group $group is not removed"
done
for disk in $(each disk); do
  for dev in $(lsblk --noheadings --list --paths --output NAME "$disk" | sort -r); do
    wipefs --all "$dev" >/dev/null || fail "$dev is not erased"
  done
  sgdisk --zap-all "$disk" >/dev/null || fail "the partition table of $disk is not erased"
  [ -z "$(wipefs --no-act "$disk")" ] || fail "$disk still has a signature"
  say "erased $disk"
done
say 'done'
BODY
setsid sh "$body" "$dir" "$input" </dev/null >>"$dir/log" 2>&1 &
printf 'started\n'
