// Package fakessh is the SSH server of every node of a [fakes.Cluster]: the second face of the cluster's shells. It
// recognises no script. What arrives in an exec request is parsed and run by a shell interpreter whose commands, files and
// devices are the machine's in the cluster, so that real quoting and real control flow are tested, and the machine
// underneath is never touched.
//
//	world := fakes.New(fakes.Layout{Workers: 3})
//	server, err := fakessh.Serve(fakessh.Config{
//		Cluster:        world,
//		AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()},
//	})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	node := lifecycle.Node{Name: "ncn-w001", Addr: server.Addrs()["ncn-w001"]}
//	// Connect with ncn/sshrun, or with the ssh command.
//
// Each node has a listener of its own. Its host key is that of the machine's present installation; while the machine is
// down connections are closed at once, and when it goes down open ones are cut, and its processes die. Faults that are
// armed in the cluster for [fakes.Exec] act on exec requests: see [Config.Names].
//
// # What it does not imitate
//
//   - Shells: dash's messages and the rarely used parts of its language. Functions do not hide the built-in commands kill,
//     pwd and umask; umask in a subshell changes the shell's own; ~user, source and aliases are refused. A background
//     command that keeps standard output open does not keep the session open.
//   - Commands: only those that the scripts of this module use, with the options that they use. Other commands end with
//     status 127, other options with status 64 and a message that names this package, so that a drift of the scripts shows.
//   - tar pads no archive to 10 KiB. wipefs names the first copy of a signature only, and no UUID. systemctl knows every
//     unit, and vgremove every group.
//   - Users: everybody is root, and permissions are recorded but not checked.
//   - SSH: no terminals, subsystems, forwarding, agent or environment; exec requests only.
//   - Memory, load, and time: commands take none, except sleep, which takes what [Config.Sleep] says.
//   - [fakes.Cluster.Late] and [fakes.Cluster.Stale] for commands.
//
// Where to look next: [Serve] and [Config]; package ncn/sshrun for the client.
package fakessh
