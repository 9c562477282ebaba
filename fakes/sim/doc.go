// Package sim runs real programs of this module on a cluster in memory, under a schedule and with faults that one number,
// the seed, decides. The same seed gives the same run; a seed that breaks an invariant of the design is replayed, and
// shrunk to the faults that matter.
//
//	func TestMyUpgrade(t *testing.T) {
//		for seed := range uint64(1000) {
//			sim.Check(t, sim.Config{
//				Seed:      seed,
//				Layout:    fakes.Layout{Workers: 3},
//				MaxFaults: 4,
//				Work: func(ctx context.Context, p *sim.Process) error { // what the program's main does
//					return myUpgrade(ctx, p.Site, p.Options()...)
//				},
//			})
//		}
//	}
//
// Work is the main function of a controller. The simulator starts it as a [Process] with transports, journal and clock of
// its own, kills it at any call it makes, and starts it again, as a supervisor does; so Work takes up what it finds
// unfinished in the journal, as [Rebuilds] does. Every call into the world and into the journal waits at a gate until the
// simulator lets it pass. In between the program runs as it always does, in a bubble of testing/synctest, in which hours
// take milliseconds.
//
// What may go wrong is a [Kind]; what must never happen are the invariants that [fakes.Cluster.Check] knows, and two that
// only a simulator sees: after the last fault every run comes to an end (I11), and faults that only stop controllers
// change no run's end (I12).
//
// # What makes a run repeat
//
// Go orders neither its goroutines, nor timers of the same instant, nor maps. The simulator orders every call; what a
// program does between two calls must not depend on chance. A random pause is a matter of chance: those of bss.Update are
// rounded up.
//
// # What it does not imitate
//
// A controller is never stopped between its last look at the journal and the command to a target that can keep no marker:
// no program can close that window, and the design accepts it (I6). Writes to the boot script service are late by
// milliseconds only, because nobody could tell one that is late by hours from another writer.
//
// Start with [Config] and [Check]; [Run] tells what happened and judges nothing.
package sim
