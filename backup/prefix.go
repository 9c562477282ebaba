package backup

import (
	"regexp"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

const (
	root         = "ncn-backups"
	timeLayout   = "20060102T150405Z"
	archiveName  = "/archive.tar.zst"
	manifestName = "/manifest.json"
)

var runName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Prefix returns where the backup that run makes of host at time t is kept: "ncn-backups/<host>/<UTC time>-<run>". It
// is told apart to the second. A host that is no node name, or a run of other than 1 to 128 letters, digits, ".", "_"
// and "-", is refused by the functions that take the prefix.
func Prefix(host string, t time.Time, run string) string {
	return root + "/" + host + "/" + t.UTC().Format(timeLayout) + "-" + run
}

// place is a prefix taken apart.
type place struct {
	host string
	time time.Time
	run  string
}

func parsePrefix(prefix string) (place, error) {
	parts := strings.Split(prefix, "/")
	if len(parts) == 3 && parts[0] == root && lifecycle.CheckName(parts[1]) == nil && len(parts[2]) > len(timeLayout)+1 {
		stamp, run := parts[2][:len(timeLayout)], parts[2][len(timeLayout)+1:]
		t, err := time.Parse(timeLayout, stamp)
		if err == nil && runName.MatchString(run) && Prefix(parts[1], t, run) == prefix {
			return place{parts[1], t, run}, nil
		}
	}
	return place{}, lifecycle.Errorf(lifecycle.Invalid, "", "",
		"%.200q is not the prefix of a backup: want %s/<host>/<time>-<run>, as backup.Prefix makes it", prefix, root)
}

// locate checks what every function here is given.
func locate(store Store, prefix string) (place, error) {
	if store == nil {
		return place{}, lifecycle.Errorf(lifecycle.Invalid, "", "", "no store was given")
	}
	return parsePrefix(prefix)
}

// refuse returns a Precondition error; whoever calls from a public function adds the operation.
func refuse(format string, args ...any) error {
	return lifecycle.Errorf(lifecycle.Precondition, "", "", format, args...)
}
