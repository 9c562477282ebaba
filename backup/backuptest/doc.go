// Package backuptest holds the suite that every [backup.Store] passes: what package backup relies on. It imports no test
// framework, so that a command can run it against a live store too.
//
//	func TestConformance(t *testing.T) {
//		store := dirstore.New(dirstore.Config{Dir: t.TempDir()})
//		backuptest.Run(t.Context(), t, store, backuptest.Config{})
//	}
//
// The suite writes and removes objects under Config.Prefix only.
package backuptest
