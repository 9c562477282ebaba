// Package ncn holds what is done to one management node of a cluster (an NCN, a non-compute node), and the plans that are
// made of it.
//
// A verb takes a host of a site, looks first, and is done when what it wanted was seen to be so:
//
//	err := ncn.Backup(ctx, site.Host("ncn-w001"))
//	err = ncn.Wipe(ctx, site.Host("ncn-w001"), ncn.Worker)
//	err = ncn.SetBootParameters(ctx, site.Host("ncn-w001"), ncn.Image("ncn-images/k8s", "0.1.110"))
//	err = ncn.Reboot(ctx, site.Host("ncn-w001"))
//	err = ncn.Restore(ctx, site.Host("ncn-w001"))
//
// [Rebuild] makes a plan of all of them; [lifecycle.Run] runs it, and [Planner] makes its steps again when the run is
// resumed. [With] adds steps of the caller's own to either. Every verb is a plan of its own too: with [Site.Audit] it is
// recorded and can be resumed in the same way.
//
// What runs on a node is in [Scripts]: constant programs, whose arguments reach them on standard input.
//
// # Safety
//
// Nothing is erased unless the host key, the xname and the DMI UUID of the machine that answers are those of the plan, in
// one connection. The disks are chosen by WWN or serial number when the plan is made, and must be chosen the same again
// right before the erasing; the node erases only if its disks then are byte for byte what was judged. Mounted, held,
// foreign or unknown refuses, and nothing is forced. The token of a wipe lives on the node: a second execution does
// nothing, whoever asks.
//
// metal.no-wipe=0, and its absence, mean that a node erases itself at its next boot. A rebuild sets it to 1 as soon as the
// node is back, and again at its end, however it ends.
package ncn
