package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// confirmation is the flag of commands that ask before they act.
type confirmation struct {
	Confirm []string `help:"Node's name, instead of typing it when asked. Repeat it for each node." placeholder:"NAME"`
}

// check refuses names that are none of the nodes': they are typing errors, and so may be the nodes'.
func (c confirmation) check(hosts []string) error {
	for _, name := range c.Confirm {
		if !slices.Contains(hosts, name) {
			return refuse("", "--confirm names %s, which is none of the nodes to act on (%s)", name, strings.Join(hosts, ", "))
		}
	}
	return nil
}

func refuse(host, format string, args ...any) error {
	return &lifecycle.Error{Op: "ncnctl", Host: host, Kind: lifecycle.Precondition, Err: &lifecycle.StateError{
		State: lifecycle.Refused, Err: fmt.Errorf(format, args...),
	}}
}

// ask shows what a plan will do to which cluster, and lets nobody pass who does not name the node. hosts are all nodes of
// the command.
func (a *app) ask(ctx context.Context, cluster, verb string, hosts []string, c confirmation, p *lifecycle.Plan) error {
	v, err := viewOf(p)
	if err != nil {
		return err
	}
	a.say("Cluster: %s", clean(cluster))
	a.say("%s %s (%s, %s)", verb, clean(v.Node), clean(string(v.Role)), clean(v.XName))
	v.losses(a.stderr)
	switch {
	case slices.Contains(c.Confirm, v.Node):
		return nil
	case !isTerminal(a.stdin):
		again := slices.Clone(a.args)
		for _, h := range hosts {
			if !slices.Contains(c.Confirm, h) {
				again = append(again, "--confirm", h)
			}
		}
		err := refuse(v.Node, "%s was not confirmed, and there is no terminal to ask on", v.Node)
		return failed(verb+" "+v.Node, err, words(append([]string{"ncnctl"}, again...)))
	}
	fmt.Fprintf(a.stderr, "Type the node's name to go on: ")
	typed, err := a.readLine(ctx)
	switch {
	case err != nil:
		return refuse(v.Node, "the node's name was not typed: %w", err)
	case typed != v.Node:
		return refuse(v.Node, "%q was typed, and the node is %s", typed, v.Node)
	}
	return nil
}

// readLine reads a line of standard input, unless ctx ends first.
func (a *app) readLine(ctx context.Context) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // it ends with the process at the latest: a read of a terminal cannot be called off
		line, err := a.lines.ReadString('\n')
		answers <- answer{line, err}
	}()
	select {
	case got := <-answers:
		if got.err != nil {
			return "", got.err
		}
		return strings.TrimSpace(got.line), nil
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return "", errors.New("interrupted")
	}
}
