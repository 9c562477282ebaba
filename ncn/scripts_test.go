package ncn

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The scripts are POSIX shell, as the shell of this machine reads it.
func TestScriptsParse(t *testing.T) {
	for name, script := range Scripts() {
		require.NotEmpty(t, script, name)
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-n", "-c", script).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}

// What the tools of a real machine print can be read: that of this one, if it is a Linux with util-linux.
func TestDisksScriptOnThisMachine(t *testing.T) {
	if _, err := exec.LookPath("lsblk"); err != nil {
		t.Skip("this machine has no lsblk")
	}
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", Scripts()["ncn.disks"]).Output()
	require.NoError(t, err)
	devices, err := parseDisks(out)
	require.NoError(t, err, "%s", out)
	for _, d := range devices {
		require.NotEmpty(t, d.Name)
		require.NotEmpty(t, d.Type)
	}
}
