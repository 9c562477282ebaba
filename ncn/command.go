package ncn

import (
	_ "embed"
	"io"
	"strconv"

	"github.com/ncnkit/lifecycle"
)

// The scripts that run on nodes. Each is a constant: what varies reaches it on standard input.
var (
	//go:embed scripts/inspect.sh
	inspectScript string
	//go:embed scripts/disks.sh
	disksScript string
	//go:embed scripts/wipe-start.sh
	wipeStartScript string
	//go:embed scripts/wipe-look.sh
	wipeLookScript string
	//go:embed scripts/backup.sh
	backupScript string
	//go:embed scripts/restore.sh
	restoreScript string
	//go:embed scripts/sums.sh
	sumsScript string
)

// Scripts returns the programs that this package runs on nodes, by the names of their commands: what an auditor reads, and
// what a server that allows only known commands is configured with.
func Scripts() map[string]string {
	return map[string]string{
		"ncn.inspect":    inspectScript,
		"ncn.disks":      disksScript,
		"ncn.wipe-start": wipeStartScript,
		"ncn.wipe-look":  wipeLookScript,
		"ncn.backup":     backupScript,
		"ncn.restore":    restoreScript,
		"ncn.sums":       sumsScript,
	}
}

func command(name string, args ...string) lifecycle.Command {
	return lifecycle.Command{Name: name, Script: Scripts()[name], Args: args}
}

// counted prefixes a list of arguments with its length, as the scripts take it.
func counted(list []string) []string { return append([]string{strconv.Itoa(len(list))}, list...) }

func backupCommand(paths []string, tar io.Writer) lifecycle.Command {
	cmd := command("ncn.backup", counted(paths)...)
	cmd.Stdout = tar
	return cmd
}

func restoreCommand(tar io.Reader) lifecycle.Command {
	cmd := command("ncn.restore")
	cmd.Stdin = tar
	return cmd
}
