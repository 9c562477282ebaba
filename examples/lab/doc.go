// Package lab is a whole fake cluster on this machine's loopback: SSH servers and BMCs of nine nodes or of those of a real
// site's dumps, the boot script service, the inventory and the token endpoint behind one gateway. Programs that are made
// for a real site run against it unchanged, in processes of their own; killing them never kills the lab.
//
//	l, err := lab.Start(ctx, lab.Config{Dir: "lab"}) // a boot that takes 5.5 min takes 3.3 s here
//	if err != nil {
//		return err
//	}
//	defer l.Close()
//	s, err := site.Load(l.SiteFile())                // lab/site.yaml, as any program would
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	p, err := ncn.Rebuild(ctx, s.NCN.Host("ncn-w001"), ncn.Worker)
//	…
//	fmt.Println(l.Verdict())                         // the invariants that were broken; none, let us hope
//
// # The directory
//
//	site.yaml          the site file
//	credentials.json   the client secret ("token"), and name and password of each BMC ("bmc/x3000c0s7b0"); mode 0600
//	id_ed25519         the key that may log in on every node; mode 0600
//	known_hosts        the nodes' host keys
//	wire.jsonl         what was seen on the wire, one [Event] a line, in order
//	journal/ backups/  what programs keep there
//
// Every Start makes a new cluster, with new addresses and passwords, nodes freshly installed. A second Start in the same
// directory replaces the files that are missing or no longer true; the client key stays, wire.jsonl begins anew, and
// journal/ and backups/ are left alone: a run that was open stays open, though its node is a new one.
//
// # The control endpoint
//
// The gateway also serves the lab itself, without a token. It listens on loopback only.
//
//	GET  /lab/        {"dir":"/home/…/lab"}
//	GET  /lab/check   {"breaches":[{"invariant":"I7","detail":"…"}]}: what [Lab.Verdict] returns
//	GET  /lab/nodes   {"nodes":[{"name":"ncn-w001","generation":1,"bootID":"…","image":"…","power":"on","up":true,
//	                  "finished":true,"armed":false}, …]}: an array of [Node]
//	POST /lab/fault   arms a [Fault]: {"op":"power.set","host":"ncn-w001","kind":"ignore"}; 204, or 400 with {"error":"…"}
//	GET  /lab/fault   {"unfired":["…"]}: the armed faults that no call has met
//
// Looking through these changes nothing, and meets no fault.
//
// # What it does not imitate
//
// What the faces do not: see fakessh, fakehttp and fakebmc of this module. Kubernetes, etcd and object stores are not
// there; backups are files. Host keys and hardware are the same in every lab of the same layout, so nothing here is safe
// to be reached from elsewhere. One clock runs everything: [Config.Speed] divides the times of machines, not those of
// programs, and the BMC still forgets its boot flags after 60 real seconds.
//
// Where to look next: [Config] and [Start]; package site for the file; package fakes for the world behind it.
package lab
