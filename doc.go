// Package lifecycle takes the nodes of a cluster through maintenance: back up, wipe, reboot, restore. It is the vocabulary
// and the run engine of the module: errors, nodes, commands, plans and their steps, the journal, events. The verbs are in
// the packages below.
//
//	site := &ncn.Site{
//		Inventory: csm.NewInventory(csm.Config{Gateway: gw, Tokens: tokens}),
//		Exec:      sshrun.New(sshrun.Config{KeyFile: "/root/.ssh/id_ed25519", KnownHosts: "/root/.ssh/known_hosts"}),
//		Power:     ipmi.New(ipmi.Config{Credentials: secrets}),
//		BSS:       bss.New(bss.Config{URL: gw + "/apis/bss", Tokens: tokens}),
//		Backups:   dirstore.New(dirstore.Config{Dir: "/var/lib/lifecycle/backups"}),
//	}
//	plan, err := ncn.Rebuild(ctx, site.Host("ncn-w001"), ncn.Worker) // reads, and writes nothing
//	…
//	journal := lifecycle.NewDirJournal("/var/lib/lifecycle/journal")
//	err = lifecycle.Run(ctx, plan, lifecycle.WithJournal(journal))
//	// Killed anywhere, it goes on where it stopped, and has each effect at most once:
//	err = lifecycle.Resume(ctx, plan.ID, ncn.Planner(site), lifecycle.WithJournal(journal))
//
// # The map
//
// Depth 1 says what, depth 2 says with what.
//
//	lifecycle   vocabulary, run engine, and rollouts over many hosts under a policy
//	power/      verified power transitions and boot device
//	    ipmi/       over IPMI
//	bss/        boot parameters, cloud-init data, endpoint history; its HTTP client
//	backup/     archive of a node's files: create, verify, restore; the Store interface
//	    dirstore/   in a directory
//	ncn/        what is done to one management node; the plans made of it
//	    sshrun/     runs commands on nodes
//	    csm/        the site's HTTP services: SLS inventory, tokens; credentials in a file
//	fakes/      one consistent cluster in memory, for the tests of those who use this module
//	    fakehttp/ fakessh/ fakebmc/   the same cluster on the wire
//	    sim/        the simulator: seeded schedules, crashes, faults
//	lifecycletest/, power/powertest/, bss/bsstest/, backup/backuptest/
//	            what every implementation of an interface must do
//	examples/   a module of its own: the lab (the cluster on loopback), a command line
//	internal/   deptest, httpx, mutant; bench/results; itest is a module of its own
//
// Arrows: lifecycle <- {power, bss, backup} <- ncn; fakes imports all of them, and nothing imports fakes. Only packages at
// depth 2 know a wire or a vendor.
//
// A [Rollout] runs a plan on each of many hosts, and its [Policy] says how: how many at once, counting what others took
// out; canaries and waves; how many may fail; when.
//
//	r := lifecycle.Rollout{Policy: lifecycle.Policy{Width: 5}, Hosts: hosts, Planner: ncn.Planner(site),
//		Plan: func(ctx context.Context, h string) (*lifecycle.Plan, error) { return ncn.Rebuild(ctx, site.Host(h), ncn.Worker) }}
//	err = r.Run(ctx, lifecycle.WithJournal(journal))
//
// # What holds
//
// A plan is data and the steps made from them. Before each effect its intent is durable, and after it its result; a step
// whose answer was lost is looked at, never repeated blindly; what a run changed and must not leave is put right in steps
// that run however the run ends. The cluster is the truth: the journal keeps only intents and the facts that can no longer
// be asked. This is deliberately no workflow engine; users of one call the verbs as its activities.
package lifecycle
