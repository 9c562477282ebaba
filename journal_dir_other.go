//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package lifecycle

import (
	"fmt"
	"os"
	"runtime"
)

// lockFile refuses: a lock that outlives its process, or does not hold, is worse than none. Records can still be read.
func lockFile(*os.File) error {
	return fmt.Errorf("a DirJournal cannot be written on %s", runtime.GOOS)
}

func unlockFile(*os.File) error { return nil }

func isDiskFull(error) bool { return false }
