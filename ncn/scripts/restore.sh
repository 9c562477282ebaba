# Unpacks the tar archive on standard input into /. Directories that exist keep their owner and mode.
set -eu
exec tar --extract --file=- --directory=/ --numeric-owner --same-owner --preserve-permissions --no-overwrite-dir
