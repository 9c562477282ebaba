// Package itest runs this module's transports against real programs: Debian's OpenSSH server, OpenIPMI's simulated BMC,
// ipmitool and FreeIPMI. It is a module of its own, so that nothing that only these tests need reaches a user's build.
//
//	bash internal/itest/install.sh
//	cd internal/itest && go test -count=1 -v ./...
//
// The first command, as root on Debian, installs what is missing and starts no service. A program that could not be
// downloaded is named, and the tests that need it are skipped by its name; without that record a missing program is a
// failure.
//
// The tests log in as root on loopback, and run the scripts of package ncn on this very machine, except that nothing is
// ever named to be erased. They need root, refuse to run on a management node, end only processes that they started, and
// take about a minute.
//
// Where to look next: programs_test.go for how a program is found, sshd_test.go for a server to log in to.
package itest
