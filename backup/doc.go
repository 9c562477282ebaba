// Package backup keeps the files of a node outside the node while it is wiped: it makes an archive, proves that the
// archive can be read back, and hands it on again.
//
// A backup is two objects in a [Store]: archive.tar.zst, and manifest.json, which is written last and says what the
// archive must hold. A backup without a manifest does not exist. Nothing may be erased before [Verify] has read the
// archive back to its end (invariant I4); nothing is restored before the whole archive was judged to be harmless.
//
//	store := dirstore.New(dirstore.Config{Dir: "/backups"})
//	prefix := backup.Prefix("ncn-w001", time.Now(), runID)
//	info := backup.Info{Host: "ncn-w001", XName: "x3000c0s7b0n0", Run: runID}
//	_, err := backup.Create(ctx, store, prefix, info, func(ctx context.Context, w io.Writer) ([]string, error) {
//		return absent, tarOnNode(ctx, w) // streams a plain tar
//	})
//	if err != nil {
//		return err
//	}
//	if _, err := backup.Verify(ctx, store, prefix); err != nil {
//		return err // do not wipe
//	}
//	// … wipe and rebuild the node …
//	_, err = backup.Restore(ctx, store, prefix, func(ctx context.Context, tar io.Reader, m backup.Manifest) error {
//		return untarOnNode(ctx, tar)
//	})
//
// [Extract] rehearses a restore into a directory. [List] and [Latest] find backups, [Remove] takes one away. Package
// dirstore keeps objects in a local directory, package s3store in S3; package backuptest holds the suite that every
// Store passes.
//
// Archives hold secrets: keep the store private.
package backup
