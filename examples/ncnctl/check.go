package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

type checkCmd struct{}

// breach is a promise that was broken, as the lab tells it (package lab, "The control endpoint").
type breach struct {
	Invariant string `json:"invariant"`
	Detail    string `json:"detail"`
}

// Run asks the lab which of the library's invariants were broken.
func (c *checkCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	found, err := askLab(ctx, s.File.Gateway)
	if err != nil {
		return failed("check", err)
	}
	switch {
	case a.Output == "json":
		err = a.json(map[string]any{"cluster": s.File.Cluster, "breaches": found})
	case len(found) == 0:
		fmt.Fprintln(a.stdout, "no promise was broken")
	default:
		rows := [][]string{{"INVARIANT", "WHAT HAPPENED"}}
		for _, b := range found {
			rows = append(rows, []string{b.Invariant, b.Detail})
		}
		table(a.stdout, rows, nil)
	}
	if err != nil || len(found) == 0 {
		return err
	}
	return failed("check", lifecycle.Errorf(lifecycle.Internal, "", "", "%d promises were broken", len(found)), a.command("status"))
}

// askLab returns what the lab behind a gateway says; a gateway of a real site has no such answer.
func askLab(ctx context.Context, gateway string) ([]breach, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	fail := func(kind lifecycle.Kind, format string, args ...any) ([]breach, error) {
		return nil, lifecycle.Errorf(kind, "ncnctl.check", "", format, args...)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(gateway, "/")+"/lab/check", nil)
	if err != nil {
		return fail(lifecycle.Invalid, "the gateway in the site file: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fail(lifecycle.Unavailable, "the gateway does not answer; is the lab running? %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(lifecycle.NotFound, "the gateway %s is no lab's (it answered %s); only a lab can be checked", gateway, resp.Status)
	}
	var answer struct {
		Breaches []breach `json:"breaches"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return fail(lifecycle.Internal, "the lab's answer: %w", err)
	}
	if answer.Breaches == nil {
		answer.Breaches = []breach{}
	}
	return answer.Breaches, nil
}
