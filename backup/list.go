package backup

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Summary is a complete backup as a listing shows it. It is a plain value.
type Summary struct {
	Prefix       string
	Host         string
	Run          string
	Time         time.Time // of the prefix, in UTC
	ArchiveBytes int64     // as the store counts them
}

// List returns the complete backups of host, newest first. It reads no object: [Verify] tells whether a backup is good.
// What is not laid out as a backup is passed over. Errors: Invalid for bad arguments, and the store's own.
func List(ctx context.Context, store Store, host string) ([]Summary, error) {
	all, err := list(ctx, store, host)
	return all, lifecycle.Wrap(err, "backup.List", host)
}

// Latest returns the newest complete backup of host, or a NotFound error. Other errors are those of [List].
func Latest(ctx context.Context, store Store, host string) (Summary, error) {
	all, err := list(ctx, store, host)
	if err == nil && len(all) == 0 {
		err = lifecycle.Errorf(lifecycle.NotFound, "", "", "there is no complete backup of %s: make one", host)
	}
	if err != nil {
		return Summary{}, lifecycle.Wrap(err, "backup.Latest", host)
	}
	return all[0], nil
}

func list(ctx context.Context, store Store, host string) ([]Summary, error) {
	if store == nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "", "", "no store was given")
	}
	if err := lifecycle.CheckName(host); err != nil {
		return nil, err
	}
	objects, err := store.List(ctx, root+"/"+host+"/")
	if err != nil {
		return nil, err
	}
	manifests := map[string]bool{}
	for _, o := range objects {
		if prefix, ok := strings.CutSuffix(o.Key, manifestName); ok {
			manifests[prefix] = true
		}
	}
	var all []Summary
	for _, o := range objects {
		prefix, ok := strings.CutSuffix(o.Key, archiveName)
		if !ok || !manifests[prefix] {
			continue
		}
		if at, err := parsePrefix(prefix); err == nil {
			all = append(all, Summary{prefix, at.host, at.run, at.time, o.Size})
		}
	}
	slices.SortFunc(all, func(a, b Summary) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Run, a.Run))
	})
	return all, nil
}
