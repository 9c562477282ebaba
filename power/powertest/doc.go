// Package powertest tests implementations of power.Controller, and holds a machine to test users of one with.
//
//	func TestConformance(t *testing.T) {
//		powertest.Run(t, powertest.Harness{Controller: mine.New(…), BMC: bmc, LosesEFI: true})
//	}
//
// [Run] takes a small interface instead of a *testing.T, so that a command can run it against a real BMC whose machine may
// be turned off and on. What a BMC is known to do differently is said in the [Harness], not skipped.
//
// [Machine] is a power.Controller of one machine in memory: late, deaf or forgetful as its fields say. For a whole cluster
// see package fakes.
package powertest
