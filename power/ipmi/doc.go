// Package ipmi is a power.Controller for BMCs that speak IPMI v2.0 over LAN (RMCP+), on top of github.com/bougou/go-ipmi.
//
//	ctl := ipmi.New(ipmi.Config{Credentials: creds})      // creds knows "bmc/x3000c0s7b0"
//	bmc := power.BMC{Name: "x3000c0s7b0", Host: "10.1.0.7"}
//
//	state, err := ctl.State(ctx, bmc)                     // what the BMC says
//	err = power.TurnOff(ctx, ctl, bmc)                    // what the machine does: use the verbs of package power
//
// Each operation opens a session, does its work and closes the session, because session slots are what BMCs have least of
// (four, often); two operations on one BMC wait for each other. Nothing that changes a machine is ever transmitted twice: a
// command whose answer is lost is an error of kind Unknown, which the verbs of package power resolve by looking.
//
// What a BMC sends within a session is believed only with the session's integrity code. Cipher suites 17 and 3 are spoken,
// 17 first, and which one worked is remembered for each BMC. IPMI v1.5 and BMC keys (K_G) are not. For a BMC on loopback
// see package fakes/fakebmc.
package ipmi
