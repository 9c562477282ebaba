// Package lifecycletest holds the conformance suites of the root package's interfaces: what every implementation of
// [lifecycle.Journal] must do, as a program that checks it.
//
// It does not import testing, so that a command can run a suite against a store in the field too. In a test:
//
//	func TestJournal(t *testing.T) {
//		run := func(name string, f func(lifecycletest.TB)) { t.Run(name, func(t *testing.T) { f(t) }) }
//		lifecycletest.Journal(run, func(lifecycletest.TB) lifecycletest.JournalStore {
//			store := lifecycle.NewMemJournal()
//			return lifecycletest.JournalStore{
//				Open:  func() lifecycle.Journal { return store.Controller("test") },
//				Crash: func(j lifecycle.Journal) { j.(*lifecycle.MemController).Kill() },
//			}
//		})
//	}
//
// Next: [Journal] and [JournalStore].
package lifecycletest

// TB is what a suite needs of a *testing.T. Fatalf must not return, as that of testing does not.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}
