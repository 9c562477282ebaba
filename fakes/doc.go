// Package fakes is one consistent cluster in memory: nodes with disks, files, power, firmware and operating systems, their
// boot parameters and stored objects, in one state machine. What one door changes is seen through every other: a node that
// is wiped and rebooted with old boot parameters boots the old image.
//
//	synctest.Test(t, func(t *testing.T) {
//		w := fakes.NewCluster(t, fakes.Layout{Workers: 3})
//		w.LoseReply(fakes.PowerSet.On("ncn-w002"))
//		site := w.Site()
//		p, err := ncn.Rebuild(t.Context(), site.Host("ncn-w002"), ncn.Worker)
//		require.NoError(t, err)
//		require.NoError(t, lifecycle.Run(t.Context(), p, lifecycle.WithJournal(w.Journal())))
//	})
//
// This package implements the module's interfaces directly: no sockets, so that it works inside testing/synctest, where the
// half hour of a rebuild takes milliseconds. Its subpackages put the same cluster on the wire: [fakes/fakessh],
// [fakes/fakehttp], [fakes/fakebmc].
//
// Faults are armed for calls: Fail, Slow, Hang, LoseReply, Ignore, Late, Stale, Crash. A fault that no call met fails the
// test. [Cluster.Check] returns the invariants that were broken; [NewCluster] fails the test for each.
//
// # What it does not imitate
//
// Time is the process's, or the bubble's: machines and service share one clock. A machine moves on only when somebody
// looks; nobody can tell. There is one kind of firmware: it boots from the network when told to, else from its first
// disks, and never hangs in between. Only workers' disks are laid out. Commands are known by name, and do what the
// scripts of this module do; only fakessh reads a script's text. Processes other than the wipe do not exist, and no
// service keeps a mount busy. Checks that need a run's plan know only runs in [Cluster.Journal], or in
// the journal that [Cluster.Watch] was given. A second fetch of a boot script within one second counts as one of the next:
// the real service keeps whole seconds, and real machines do not boot twice in one.
//
// [fakes/fakessh]: https://pkg.go.dev/github.com/ncnkit/lifecycle/fakes/fakessh
// [fakes/fakehttp]: https://pkg.go.dev/github.com/ncnkit/lifecycle/fakes/fakehttp
// [fakes/fakebmc]: https://pkg.go.dev/github.com/ncnkit/lifecycle/fakes/fakebmc
package fakes
