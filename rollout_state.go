package lifecycle

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"
)

// LoadRollout returns the policy of a rollout and where it stands, by its records and by what was asked of it. What only
// the driver knows is not in it: who is out, and what Health said. An unknown rollout is [NotFound], and a run of another
// kind [Invalid].
func LoadRollout(ctx context.Context, j Journal, id string) (Policy, RolloutState, error) {
	const op = "lifecycle.LoadRollout"
	records, err := j.Records(ctx, id)
	if err != nil {
		return Policy{}, RolloutState{}, Wrap(err, op, "")
	}
	a, err := rolloutArgsOf(records)
	if err != nil {
		return Policy{}, RolloutState{}, Wrap(err, op, "")
	}
	s := a.state()
	s.replay(records)
	requests, ok := j.(Requests)
	if !ok {
		return a.Policy, s, nil
	}
	asked, err := requests.Asked(ctx, id)
	if err != nil {
		return Policy{}, RolloutState{}, Wrap(err, op, "")
	}
	index := s.index()
	for _, req := range asked {
		s.takeRequest(req, index)
	}
	return a.Policy, s, nil
}

func rolloutArgsOf(records []Record) (rolloutArgs, error) {
	const op = "lifecycle.Rollout"
	var a rolloutArgs
	plan := records[0].Plan
	if plan == nil || plan.Kind != KindRollout {
		return a, Errorf(Invalid, op, "", "run %s is no rollout: give this one another ID", records[0].Run)
	}
	if err := json.Unmarshal(plan.Args, &a); err != nil {
		return a, Errorf(Internal, op, "", "the policy of rollout %s is damaged: %w", records[0].Run, err)
	}
	if len(a.Groups) > 0 && len(a.Groups) != len(a.Hosts) {
		return a, Errorf(Internal, op, "", "the record of rollout %s is damaged: %d hosts, %d groups", records[0].Run, len(a.Hosts), len(a.Groups))
	}
	return a, nil
}

func (s *RolloutState) index() map[string]int {
	index := make(map[string]int, len(s.Hosts))
	for i := range s.Hosts {
		index[s.Hosts[i].Host] = i
	}
	return index
}

// setOut takes in who is out. A host that is named twice counts once.
func (s *RolloutState) setOut(out []Outage, index map[string]int) {
	for i := range s.Hosts {
		s.Hosts[i].Out = nil
	}
	s.Others = nil
	others := map[string]bool{}
	for k := range out {
		o := &out[k]
		i, ours := index[o.Host]
		switch {
		case !ours && !others[o.Host]:
			others[o.Host] = true
			s.Others = append(s.Others, *o)
		case ours && (s.Hosts[i].Out == nil || s.Hosts[i].Out.By == ""):
			s.Hosts[i].Out = o
		}
	}
}

func (s *RolloutState) anyWaits() bool {
	for i := range s.Hosts {
		if s.Hosts[i].waits() {
			return true
		}
	}
	return false
}

// replay brings the state to where the records end.
func (s *RolloutState) replay(records []Record) {
	index := s.index()
	for _, rec := range records {
		i, ok := index[rec.Step]
		switch {
		case rec.Type == RecordResult && rec.Step == "":
			s.Halted = rec.Message
		case !ok:
		case rec.Type == RecordIntent:
			s.Hosts[i].Started, s.LastStarted = rec.Time, i+1
		case rec.Type == RecordResult:
			s.Hosts[i].end(rec, rec.Time)
		}
	}
}

// waits notes since when the waits last that have a deadline.
func (s *RolloutState) waits(d Decision, now time.Time) {
	since := func(t *time.Time, on bool) {
		if !on {
			*t = time.Time{}
		} else if t.IsZero() {
			*t = now
		}
	}
	since(&s.BlockedSince, d.Blocked)
	since(&s.GateSince, d.AskHealth)
}

// takeRequest changes the state to what was asked, and reports whether that had an effect. Hosts that have begun can
// neither be held nor skipped.
func (s *RolloutState) takeRequest(req Request, index map[string]int) bool {
	action, host, _ := strings.Cut(req.Action, " ")
	i, known := index[host]
	waits := known && s.Hosts[i].waits()
	switch {
	case action == ActionPause && host == "":
		s.Paused = byWhom(req)
	case action == ActionResume && host == "":
		s.Paused = ""
	case action == ActionCancel && host == "":
		s.Canceled = byWhom(req)
	case action == ActionHold && waits:
		s.Hosts[i].Held = byWhom(req)
	case action == ActionUnhold && known:
		s.Hosts[i].Held = ""
	case action == ActionSkip && waits:
	case action == ActionSkip && known && s.Hosts[i].Outcome == OutcomeSkipped: // and recorded
	default:
		return false
	}
	return true
}

// byWhom returns who asked, and why: "by ops: the DIMM is being replaced".
func byWhom(req Request) string {
	text := "by " + cmp.Or(req.Actor, "somebody")
	if req.Because != "" {
		text += ": " + req.Because
	}
	return text
}
