package fakessh

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/ncnkit/lifecycle/fakes"
)

// mkdir is `mkdir [-p] DIRECTORY...`.
func mkdir(c *invocation) int {
	set, dirs, ok := c.flags("-p")
	if !ok || len(dirs) == 0 {
		return c.drift()
	}
	status := 0
	for _, dir := range dirs {
		name := c.path(dir)
		if set["-p"] {
			for _, above := range ancestors(name) {
				if err := c.sh.m.Mkdir(above, c.sh.mode(0o777)|0o300); err != nil && !errors.Is(err, fs.ErrExist) {
					return c.fail(1, "cannot create directory '%s': %s", dir, reason(err))
				}
			}
		}
		err := c.sh.m.Mkdir(name, c.sh.mode(0o777))
		if err != nil && set["-p"] && errors.Is(err, fs.ErrExist) {
			if fi, serr := stat(c.sh.m, name, true); serr == nil && fi.IsDir() {
				err = nil
			}
		}
		if err != nil {
			status = c.fail(1, "cannot create directory '%s': %s", dir, reason(err))
		}
	}
	return status
}

// ancestors returns the directories above name, outermost first, without the root.
func ancestors(name string) []string {
	var above []string
	for d := path.Dir(name); d != "/" && d != "."; d = path.Dir(d) {
		above = append(above, d)
	}
	slices.Reverse(above)
	return above
}

// rm is `rm [-f] [-r] FILE...`, and -rf for both.
func rm(c *invocation) int {
	set, files, ok := c.flags("-f", "-r", "-rf")
	if !ok || len(files) == 0 {
		return c.drift()
	}
	force, recurse := set["-f"] || set["-rf"], set["-r"] || set["-rf"]
	status := 0
	for _, file := range files {
		name := c.path(file)
		fi, err := stat(c.sh.m, name, false)
		switch {
		case err != nil && force:
		case err != nil:
			status = c.fail(1, "cannot remove '%s': %s", file, reason(err))
		case name == "/":
			status = c.fail(1, "it is dangerous to operate recursively on '/'")
		case fi.IsDir() && !recurse:
			status = c.fail(1, "cannot remove '%s': Is a directory", file)
		default:
			all := []string{name}
			if fi.IsDir() {
				all = c.sh.m.Files(name)
			}
			for _, one := range slices.Backward(all) {
				if err := c.sh.m.Remove(one); err != nil {
					status = c.fail(1, "cannot remove '%s': %s", file, reason(err))
				}
			}
		}
	}
	return status
}

// mv is `mv SOURCE DEST`.
func mv(c *invocation) int {
	_, files, ok := c.flags()
	if !ok || len(files) != 2 {
		return c.drift()
	}
	from, to := c.path(files[0]), c.path(files[1])
	if fi, err := stat(c.sh.m, to, true); err == nil && fi.IsDir() {
		to = path.Join(to, path.Base(from))
	}
	if err := c.sh.m.Rename(from, to); err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return c.fail(1, "cannot stat '%s': %s", files[0], reason(err))
		}
		return c.fail(1, "cannot move '%s' to '%s': %s", files[0], files[1], reason(err))
	}
	return 0
}

// tree returns what is at and under name, each directory before its content, siblings by name.
func tree(m *fakes.Machine, name string) []string {
	files := m.Files(name)
	slices.SortStableFunc(files, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	return files
}
