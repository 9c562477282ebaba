// Package deptest checks what packages import. A library is as heavy as its heaviest import, and an arrow in the wrong
// direction is seen by nobody until it hurts.
package deptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Package is a package and what it imports.
type Package struct {
	ImportPath string
	Imports    []string // directly, without tests
	Deps       []string // all, transitively
	Standard   bool
}

// List returns the packages that match the patterns in dir, as `go list` has them.
func List(ctx context.Context, dir string, patterns ...string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-json=ImportPath,Imports,Deps,Standard"}, patterns...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	var all []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p Package
		if err := dec.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}

// Reaches returns the dependencies of p that are, or are below, one of the prefixes.
func (p Package) Reaches(prefixes ...string) []string {
	return slices.DeleteFunc(slices.Clone(p.Deps), func(dep string) bool {
		return !slices.ContainsFunc(prefixes, func(prefix string) bool { return Below(dep, prefix) })
	})
}

// Below reports whether an import path is prefix, or below it.
func Below(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }
