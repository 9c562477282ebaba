// Package bsstest is what every [bss.API] must pass: the client over a server, and each fake. It holds the semantics that
// were recorded from hms-bss and OpenCHAMI/bss; a fake that differs would teach its users something untrue.
//
//	func TestAPI(t *testing.T) {
//		bsstest.API(t, func(tb bsstest.TB) bss.API { return newFake() })
//	}
//
// For one subtest per check, range over [Checks]. A command may run the suite too: [TB] is all that it needs.
//
// Where to look next: package bss for the contract, and its tests for the smallest implementation that passes.
package bsstest
