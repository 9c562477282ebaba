package lifecycle

import "time"

// Decider returns [Decide] for one policy and one list of hosts, which it looks at once.
func Decider(p Policy, s *RolloutState) (func(time.Time) Decision, error) {
	r, err := newRules(p, s.Hosts)
	if err != nil {
		return nil, err
	}
	return func(now time.Time) Decision { return r.decide(s, now) }, nil
}

// WindowAt reports whether one of the windows is open, and until when that is so at least.
func WindowAt(now time.Time, all ...Window) (bool, time.Time, error) {
	ws, err := Policy{Windows: all}.parseWindows()
	if err != nil {
		return false, time.Time{}, err
	}
	open, until := ws.at(now)
	return open, until, nil
}
