# Tells who this machine is, what it booted, and what is on its disks. Changes nothing.
set -eu
printf 'xname %s\n' "$(cat /etc/cray/xname)"
printf 'uuid %s\n' "$(cat /sys/class/dmi/id/product_uuid)"
printf 'boot %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
printf 'cmdline %s\n' "$(cat /proc/cmdline)"
if grep -q 'The system is finally up' /var/log/cloud-init-output.log 2>/dev/null; then
  printf 'cloud-init finished\n'
else
  printf 'cloud-init running\n'
fi
if [ -e /var/lib/lifecycle/wiped ]; then
  printf 'wiped %s\n' "$(cat /var/lib/lifecycle/wiped)"
fi
