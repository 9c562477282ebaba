// Package sshrun runs commands on nodes over SSH. It is the [lifecycle.Runner] of a real site.
//
//	exec := sshrun.New(sshrun.Config{
//		User:       "root",
//		KeyFile:    "/root/.ssh/id_ed25519",
//		KnownHosts: "/root/.ssh/known_hosts",
//	})
//	defer exec.Close()
//	node := lifecycle.Node{Name: "ncn-w001", Addr: "10.252.1.7"}
//	result, err := exec.Run(ctx, node, lifecycle.Command{
//		Name:   "uptime",
//		Script: "cat /proc/uptime",
//	})
//
// What it promises:
//
//   - The text that a node's shell sees is the command's constant script. What varies goes to standard input, so a name
//     such as "; rm -rf /" is data and stays data.
//   - A host is known or refused: by the known_hosts file (hashed names, @cert-authority and @revoked included), by a
//     host certificate authority, or by the keys that the command itself brings. There is no trust on first use.
//   - A command that was sent is never sent again. When its end is not seen, the error is [lifecycle.Unknown].
//   - A peer that stops answering is noticed by keep-alives and by the context, whichever is first.
//
// One connection is kept per node, and at most [Config.MaxSessions] commands use it at a time.
//
// Where to look next: [Config] for what can be set, [Runner.Run] for the kinds of errors, [Runner.KeepHostKeys] for a
// node that was reinstalled. Package fakes/fakessh is a server to test against.
package sshrun
