package main

import "github.com/ncnkit/lifecycle"

// glossary explains the words that this program prints: states of runs, kinds of errors, steps.
func glossary() map[string]string {
	return map[string]string{
		// States.
		string(lifecycle.Open):       "It is being driven, or it stopped where it can be resumed.",
		string(lifecycle.Done):       "Every step is done.",
		string(lifecycle.Refused):    "A condition did not hold, and nothing was changed. Put it right and try again.",
		string(lifecycle.Failed):     "A step failed after something had been changed. What had to be put back at the end was put back.",
		string(lifecycle.CanceledBy): "Somebody asked to end it. What had to be put back at the end was put back; what was done before stays done.",
		string(lifecycle.Undecided):  "An effect may or may not have happened, and looking did not tell. Look at the node before you do anything else.",
		string(lifecycle.NeedsHuman): "Something was left that only a person can put right: read why, and see to the node.",

		// Kinds of errors.
		slug(string(lifecycle.Invalid)):         "An argument, the site file or an entry of the inventory cannot be right. The reason names it; correct it and try again.",
		slug(string(lifecycle.Unauthenticated)): "The far side does not know us. Look at the credentials file and at the SSH key that the site file names.",
		slug(string(lifecycle.Denied)):          "The far side knows us and does not let us, or it showed a host key that we do not know. Compare the host key with the machine's console before you trust it.",
		slug(string(lifecycle.NotFound)):        "There is no such node, run or backup. Check the name: ncnctl status lists the runs, ncnctl backups list HOST the backups.",
		slug(string(lifecycle.Precondition)):    "A condition that must hold does not hold. The reason says which; put it right and try again. Nothing is ever forced.",
		slug(string(lifecycle.Conflict)):        "Somebody else has it or changed it first. The reason says who. Wait for them, or end their run with ncnctl cancel.",
		slug(string(lifecycle.Unknown)):         "A command was sent and its answer was lost. Look at the node; do not send it again before you know.",
		slug(string(lifecycle.Unavailable)):     "A service, a BMC or a node does not answer. See that it is up and that the addresses in the site file are right; then try again, or resume the run.",
		slug(string(lifecycle.Timeout)):         "Something that was waited for did not come in time. The reason says what, and what was seen last. Look at the node's console.",
		slug(string(lifecycle.Internal)):        "Something failed that has no kind of its own. The reason says what.",

		// Steps.
		"identify":        "Asks the machine that answers who it is, and compares that with the inventory and the plan. Refused: look for a swapped cable or a reused address.",
		"backup":          "Copies the node's irreplaceable files to the store, and reads them back. Nothing is erased before that has succeeded.",
		"wipe":            "Erases the disks that the plan names, by their IDs, after checking all of them. Refused: a disk is mounted, foreign or new; see to it and make a new plan.",
		"boot-parameters": "Sets which image the node boots next, and reads that back.",
		"arm":             "Sets metal.no-wipe=0: the node erases its disks at its next boot. However the run ends, it is disarmed again.",
		"boot-device":     "Has the BMC boot the node from the network, once.",
		"power-off":       "Turns the node off and sees it off. It never takes the BMC's word for it.",
		"power-on":        "Turns the node on and sees it on.",
		"boot-script":     "Waits until the node has fetched its boot script. If it does not come: look at the console for the network boot, and at the boot order.",
		"boot":            "Waits until the node answers as itself on a new boot, with cloud-init finished. If it does not come: look at the console.",
		"host-key":        "Keeps the host key that the node announced, as the only one to accept from now on.",
		"disarm":          "Sets metal.no-wipe=1: the node keeps its disks at its next boot. If that fails: ncnctl disarm HOST, before anybody boots the node.",
		"disarm-at-last":  "Disarms the node, however the run ended. If that fails: ncnctl disarm HOST, before anybody boots the node.",
		"restore":         "Puts the files of the backup back, and compares them on the node.",
	}
}
