// Package dirstore keeps backups in a local directory: a disk of the machine that drives the maintenance, or a file
// system that it mounts. The directory must not be on a node that is wiped.
//
//	store := dirstore.New(dirstore.Config{Dir: "/srv/backups"})
//	m, err := backup.Create(ctx, store, prefix, info, write)
//
// Objects are plain files at the path that their key says, so that they can be read with zstd and tar when everything
// else is down. They are for their owner only (files 0600, directories 0700). An object appears under its name when it is
// complete and on the disk, never before, and is never replaced. The file system must have hard links.
//
// See package backup for what is kept, and package backuptest for what every store promises.
package dirstore
