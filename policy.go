package lifecycle

import (
	"math"
	"time"
)

// Policy says how a [Rollout] goes through its hosts. The zero Policy takes one host at a time and halts at the first
// failure. It is a plain value; durations are nanoseconds in JSON.
type Policy struct {
	// Width is how many hosts run at once; 0 means 1.
	Width int `json:"width,omitempty"`
	// MaxUnavailable is how many hosts may be unavailable at once: those that run, and those that [Rollout.Out] names,
	// also when they are not of this rollout. A host that is both counts once. A share is one of the rollout's hosts. None
	// means Width: what others took out leaves less for the rollout.
	MaxUnavailable Amount `json:"maxUnavailable,omitzero"`
	// Canary is how many hosts, the first ones, must all succeed, or be skipped by somebody, before any other host starts.
	// They are a wave. When one fails, the rollout halts whatever the budget.
	Canary int `json:"canary,omitempty"`
	// Waves cut the hosts, without the canaries, into parts that follow each other.
	Waves Waves `json:"waves,omitzero"`
	// Budget is how many failures are accepted.
	Budget Budget `json:"budget,omitzero"`
	// PerGroup is how many hosts of one group, see [Rollout.Group], run at once; 0 means no limit.
	PerGroup int `json:"perGroup,omitempty"`
	// Serial finishes one group before the next begins; hosts are taken group by group. Hosts that are held, or that
	// somebody took out, keep no group from ending.
	Serial bool `json:"serial,omitempty"`
	// Windows are when hosts may be started; none means always. What runs when a window closes goes on to its end.
	Windows []Window `json:"windows,omitempty"`
	// Stagger is the least time between two starts.
	Stagger time.Duration `json:"stagger,omitempty"`
	// HostDeadline bounds the run of one host. One that takes longer counts as failed, is told to stop at its next safe
	// point, and keeps its place until it has ended. The time begins anew when another driver takes the rollout up. 0 means
	// no bound but those of the steps.
	HostDeadline time.Duration `json:"hostDeadline,omitempty"`
	// HealthDeadline bounds the wait for [Rollout.Health] between two waves, after which the rollout halts; 0 means
	// [DefaultHealthDeadline].
	HealthDeadline time.Duration `json:"healthDeadline,omitempty"`
	// OutDeadline bounds the time in which nothing runs and nothing can be started because of what [Rollout.Out] says,
	// after which the rollout halts; 0 means [DefaultOutDeadline].
	OutDeadline time.Duration `json:"outDeadline,omitempty"`
}

// The deadlines of a policy that names none.
const (
	DefaultHealthDeadline = time.Hour
	DefaultOutDeadline    = 24 * time.Hour
)

// Waves are parts of a rollout: a wave begins when the one before has ended, has soaked, and [Rollout.Health] says so.
// Hosts that are held, or that somebody took out, keep no wave from ending; their turn comes when they are released.
type Waves struct {
	First  Amount        `json:"first,omitzero"`   // of the first wave, a share being one of all hosts; none means no waves
	Growth float64       `json:"growth,omitempty"` // how many times the hosts of the wave before, at least 1, rounded down; 0 means 1
	Soak   time.Duration `json:"soak,omitempty"`   // from the end of a wave's last host to the next wave, canaries included
}

// Budget is how many hosts may fail. One more halts the rollout: nothing is started any more, what runs goes on to its
// end, and the rollout ends [Failed]. Shares are of the hosts that were tried, which are those that ended or are over
// their deadline, skipped ones not included.
type Budget struct {
	Total    Amount `json:"total,omitzero"`     // of all hosts; none means that no host may fail
	PerWave  Amount `json:"perWave,omitzero"`   // of each wave; none means no limit but Total
	MinTried int    `json:"minTried,omitempty"` // a share counts only when so many hosts, of the wave or of all, were tried
}

// Check refuses, as [Invalid], a policy that makes no sense. It reads the zone data of the windows.
func (p Policy) Check() error {
	_, err := p.parseWindows()
	return err
}

func (p Policy) check() error {
	const op = "lifecycle.Policy"
	for what, n := range map[string]int64{
		"Width": int64(p.Width), "Canary": int64(p.Canary), "PerGroup": int64(p.PerGroup), "Budget.MinTried": int64(p.Budget.MinTried),
		"Waves.Soak": int64(p.Waves.Soak), "Stagger": int64(p.Stagger), "HostDeadline": int64(p.HostDeadline),
		"HealthDeadline": int64(p.HealthDeadline), "OutDeadline": int64(p.OutDeadline),
	} {
		if n < 0 {
			return Errorf(Invalid, op, "", "%s is negative", what)
		}
	}
	for what, a := range map[string]Amount{
		"MaxUnavailable": p.MaxUnavailable, "Waves.First": p.Waves.First, "Budget.Total": p.Budget.Total, "Budget.PerWave": p.Budget.PerWave,
	} {
		if err := a.check(what); err != nil {
			return err
		}
	}
	if g := p.Waves.Growth; g != 0 && (math.IsNaN(g) || math.IsInf(g, 0) || g < 1) {
		return Errorf(Invalid, op, "", "Waves.Growth is %v: want 1 or more, or 0 for 1", g)
	}
	return nil
}

func (p Policy) parseWindows() (windows, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	var out windows
	for _, w := range p.Windows {
		parsed, err := w.parse()
		if err != nil {
			return nil, err
		}
		out = append(out, parsed)
	}
	return out, nil
}

// waveOf returns the wave of each of n hosts, from 0. The canaries are the first wave, where there are any.
func (p Policy) waveOf(n int) []int {
	out := make([]int, n)
	wave, next := 0, 0
	fill := func(size int) {
		for end := min(n, next+max(1, size)); next < end; next++ {
			out[next] = wave
		}
		wave++
	}
	if p.Canary > 0 {
		fill(p.Canary)
	}
	if p.Waves.First == (Amount{}) {
		fill(n)
	}
	for size := float64(p.Waves.First.Of(n)); next < n; size = min(size*max(1, p.Waves.Growth), float64(n)) {
		fill(int(size))
	}
	return out
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
