// Package mutant holds named switches, each of which puts one known bug back into the code: those that broke the systems
// that this module replaces, or their neighbours. They are compiled out of normal builds.
//
//	if mutant.On("no-readback") {
//		return nil // as if the write were known to be there
//	}
//
// The invariants are only as good as what would catch their breach: with the build tag "mutant", the tests of this package
// turn each switch on and demand that [fakes.Cluster.Check] reports the invariant that the switch's row names, and without
// a switch reports nothing. A mutant that survives fails the build. `make mutants` runs them.
//
// [fakes.Cluster.Check]: https://pkg.go.dev/github.com/ncnkit/lifecycle/fakes#Cluster.Check
package mutant
