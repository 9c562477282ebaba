package backup

import (
	"context"

	"github.com/ncnkit/lifecycle"
)

// Remove takes away the backup under prefix, or what an unfinished run left there; none is no error. The manifest goes
// first, so that at no time a backup looks complete and is not. Errors: Invalid for bad arguments, and the store's own.
func Remove(ctx context.Context, store Store, prefix string) error {
	at, err := locate(store, prefix)
	if err == nil {
		err = store.Delete(ctx, prefix+manifestName)
	}
	if err == nil {
		err = store.Delete(ctx, prefix+archiveName)
	}
	return lifecycle.Wrap(err, "backup.Remove", at.host)
}
