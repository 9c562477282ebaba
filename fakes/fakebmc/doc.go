// Package fakebmc serves BMCs on loopback UDP: IPMI v2.0 with RMCP+, in front of anything that is a power.Controller,
// such as the machines of a fakes.Cluster or a map in a test.
//
//	srv, err := fakebmc.Serve(fakebmc.Config{
//		BMC:      power.BMC{Name: "x3000c0s7b0"},
//		Backend:  world.Power(),
//		Username: "root", Password: lifecycle.NewSecret("initial0"),
//		OnWire:   func(e fakebmc.Event) { log.Print(e) },
//	})
//	if err != nil { … }
//	defer srv.Close()
//	bmc := power.BMC{Name: "x3000c0s7b0", Host: srv.Addr()}   // for ipmi.New(…), ipmitool -I lanplus, …
//
// An error of the backend becomes a completion code; one of kind Unknown becomes silence: the effect has happened, and the
// answer is lost. A [Relay] between client and BMC drops, delays or repeats the packets of its choice.
//
// # What it does not imitate
//
// The session layer is go-ipmi's own server: its four session slots, its cipher suites 3 and 17, its refusals. Sensors,
// event log, FRU and serial console are empty. Of the boot options it knows parameters 3, 4 and 5; of the boot flags' ways
// to become invalid only the 60 seconds without a chassis command. A real BMC is 10 to 1000 times slower, keeps fewer
// bits, and forgets what it was told when it restarts.
package fakebmc
