package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// readOutages reads a file of hosts that others took out.
func readOutages(path string) ([]lifecycle.Outage, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Unavailable, "ncnctl", "", "the file of --out-file: %w", err)
	}
	return parseOutages(string(text))
}

// parseOutages reads one host per line, with who took it out and why: "ncn-w003 ops the DIMM is being replaced". Empty
// lines, and what is behind a #, count for nothing.
func parseOutages(text string) ([]lifecycle.Outage, error) {
	var list []lifecycle.Outage
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		o := lifecycle.Outage{Host: words[0], By: "others"}
		if err := lifecycle.CheckName(o.Host); err != nil {
			return nil, fmt.Errorf("the file of --out-file, line %d: %w", n, err)
		}
		if len(words) > 1 {
			o.By, o.Why = words[1], strings.Join(words[2:], " ")
		}
		list = append(list, o)
	}
	return list, nil
}

// setOutages puts who is out into the state of a rollout, which its journal does not keep.
func setOutages(state *lifecycle.RolloutState, file string) {
	list, err := readOutages(file)
	if err != nil {
		state.OutUnknown = reason(err)
		return
	}
	index := map[string]int{}
	for i, h := range state.Hosts {
		index[h.Host] = i
	}
	for _, o := range list {
		if i, ours := index[o.Host]; ours {
			state.Hosts[i].Out = &o
		} else {
			state.Others = append(state.Others, o)
		}
	}
}
