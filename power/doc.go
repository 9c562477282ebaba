// Package power turns machines on and off through their BMCs, and says so only when it has seen it.
//
// A BMC that accepts a command has not obeyed it: it may ignore the command, obey minutes later, or obey and lose the
// answer. So each verb looks first, sends, and looks until the machine is where it should be; it repeats only what may be
// repeated; and a nil error is the one proof.
//
//	ctl := ipmi.New(ipmi.Config{Credentials: creds})          // or power/redfish, or a fake
//	bmc := power.BMC{Name: "x3000c0s7b0", Host: "10.1.0.7"}
//
//	err := power.SetBoot(ctx, ctl, bmc, power.Boot{Device: power.PXE, EFI: true})
//	err = power.Cycle(ctx, ctl, bmc, power.WithProgress(func(waitingFor, why string) {
//		log.Printf("waiting for %s: %s", waitingFor, why)
//	}))
//	switch {
//	case errors.Is(err, lifecycle.Unknown):  // sent, and nobody knows: look at the machine
//	case errors.Is(err, lifecycle.Timeout):  // it did not get there; the error names the last state
//	}
//
// The verbs are [TurnOn], [TurnOff], [Cycle], [Reset] and [SetBoot]; each takes a [Controller], the one interface that a
// transport implements. Package power/ipmi is the transport for IPMI v2.0, and power/powertest the suite that every
// transport passes. The verbs keep no state, and are safe for concurrent use.
package power
