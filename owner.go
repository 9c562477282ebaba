package lifecycle

import (
	"fmt"
	"os"
	"os/user"
)

// DefaultOwner says which process this is, for the owner of a [Lease] and for the people who read [Held]: "root@ncn-m002
// pid 4711". What cannot be found out is named as such.
func DefaultOwner() string {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s@%s pid %d", name, host, os.Getpid())
}
