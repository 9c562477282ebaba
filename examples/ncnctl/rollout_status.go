package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
)

// rolloutID is what the commands about one rollout take.
type rolloutID struct {
	ID string `arg:"" name:"rollout" help:"Rollout, by its ID."`
}

type rolloutStatusCmd struct {
	rolloutID
}

// Run shows where the rollout stands, by the journal.
func (c *rolloutStatusCmd) Run(ctx context.Context, a *app) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	v, err := viewRollout(ctx, s, c.ID, nil)
	if err != nil {
		return failed("status of "+c.ID, err, a.command("status"))
	}
	return v.show(a)
}

type rolloutWatchCmd struct {
	rolloutID
}

// watchPoll is how often rollout watch looks into the journal when the site file does not say.
const watchPoll = 5 * time.Second

// Run follows the rollout until it ends, and ends as it did.
func (c *rolloutWatchCmd) Run(ctx context.Context, a *app) error {
	what := "watch " + c.ID
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.Close()
	poll := s.File.Poll.Duration
	if poll <= 0 {
		poll = watchPoll
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var before *rolloutView
	for {
		v, err := viewRollout(ctx, s, c.ID, before)
		if err != nil {
			return failed(what, err, a.command("status"))
		}
		a.showChanges(before, v)
		if before = v; v.State != lifecycle.Open {
			break
		}
		select {
		case <-ctx.Done():
			return failed(what, ctx.Err(), a.command("rollout", "watch", c.ID))
		case <-ticker.C:
		}
	}
	a.stderr.leave()
	if err := before.show(a); err != nil {
		return err
	}
	if before.State != lifecycle.Done {
		err = lifecycle.Wrap(&lifecycle.StateError{Run: c.ID, State: before.State, Err: errors.New(before.Message)}, "ncnctl", "")
	}
	return before.failure(a, "rollout "+c.ID, err)
}

// showChanges says what is new since the view before, and draws the hosts under way where that can be done.
func (a *app) showChanges(before, v *rolloutView) {
	if a.Quiet {
		return
	}
	now := time.Now().Format("15:04:05")
	if before == nil {
		before = &rolloutView{Hosts: make([]rolloutHost, len(v.Hosts))}
	}
	for i, h := range v.Hosts {
		if was := before.Hosts[i]; was.State != h.State || was.What != h.What && !a.screen {
			a.say("%s %s", now, clean(h.text()))
		}
	}
	if why := v.why(); why != before.why() {
		a.say("%s no new host is begun: %s", now, clean(why))
	}
	if !a.screen {
		return
	}
	lines := []string{clean(v.Counts.String())}
	for _, h := range v.Hosts {
		if h.State == string(lifecycle.Open) {
			lines = append(lines, fit(clean(h.text()), a.columns()))
		}
	}
	a.stderr.draw(lines)
}

// text is the host in one line.
func (o rolloutHost) text() string {
	text := fmt.Sprintf("%s %s", o.Node, o.State)
	if o.Run != "" {
		text += fmt.Sprintf(" %d/%d", o.Done, o.Total)
	}
	if o.What != "" {
		text += ": " + o.What
	}
	return text
}

// why is the first reason for which no new host is begun. That all places are taken is no news.
func (v *rolloutView) why() string {
	if len(v.Waits) == 0 || v.Counts.Open > 0 && v.Counts.Open >= max(1, v.Policy.Width) {
		return ""
	}
	return v.Waits[0]
}
