// Ncnctl takes the management nodes of a cluster through maintenance. It is thin: each command assembles parts of the
// library, and shows how.
//
//	ncnctl lab --dir DIR                 run a cluster on loopback to try things on; stop it with Ctrl-C
//
//	ncnctl plan HOST…                    what a rebuild would do, and what would be lost
//	ncnctl rebuild HOST…                 back up, erase, boot from the network, restore; one host after the other
//	ncnctl status [RUN]                  the runs in the journal, or the steps of one
//	ncnctl explain RUN|HOST|STEP|KIND    what a run waits for or why it ended, and what to do next
//	ncnctl resume [RUN]                  take up one unfinished run, or all of them, oldest first
//	ncnctl cancel RUN --because TEXT     end a run at its next safe point
//
//	ncnctl rollout plan|preview HOST…    waves, order and limits of many rebuilds; when each would be, and the worst moment
//	ncnctl rollout run HOST…             rebuild many workers under a policy: width, canaries, waves, budget, windows
//	ncnctl rollout status|watch ROLLOUT  where it stands, host by host, and what it waits for; or follow it to its end
//	ncnctl rollout pause|unpause|cancel ROLLOUT --because TEXT
//	ncnctl rollout hold|unhold|skip ROLLOUT HOST… --because TEXT
//	ncnctl rollout resume ROLLOUT        end a pause, and take the rollout up when nobody drives it; it says which
//
//	ncnctl backup | wipe | boot-parameters | reboot | restore | disarm HOST
//	ncnctl backups list | verify | rehearse HOST
//	ncnctl check                         ask a lab whether a promise of the library was broken
//
// The cluster is described by a site file (--site, default site.yaml; see package site). Data goes to standard output, as
// a table or as JSON (-o json); progress, questions and errors go to standard error. On a terminal progress is one line
// per host, drawn anew; elsewhere it is lines. NO_COLOR and --no-color leave colours out.
//
// Commands that erase, overwrite or take a node down (rebuild, wipe, restore, reboot) show what will be lost, and ask for
// the node's name. Without a terminal, give --confirm NAME for each node. What was shown is what happens: a plan made
// later that would erase other disks is refused.
//
// A rollout asks once: for the cluster's name and the number of hosts, or --confirm-cluster and --confirm-count. What is
// erased is planned for each host when its turn comes. The policy is given by flags, or by a YAML file with the same names.
// The file of --out-file says who else is out, one HOST [WHO [WHY]] on each line: such hosts count as unavailable, and are
// not begun before their line is gone. The plain resume and cancel keep away from rollouts and their hosts' runs, and say
// what to type instead; a host that waits for its turn in a rollout is refused to other commands until it is held there.
//
// The first Ctrl-C (or SIGTERM) stops at the next safe point, which is between two steps; the second interrupts the step
// that is under way. Either way the run can be resumed, and the command for that is printed.
//
// # Exit codes
//
//	0  done
//	1  failed; also: stopped by Ctrl-C or canceled, and damage or a breach that was looked for and found
//	2  wrong usage: unknown command or flag, missing argument
//	3  refused, and nothing was changed
//	4  the outcome is unknown, or a person is needed
//	5  somebody else drives the node, or left a run of it unfinished
//	6  partly done: of several hosts or runs some succeeded; the table on standard output says which
//
// Rollout watch ends with the code with which rollout run would.
package main
