package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

// policyFlags is a policy, from flags or from a file.
type policyFlags struct {
	Policy string `help:"File with the policy, as YAML: the flags below without their dashes, and instead of them." type:"path" placeholder:"FILE"`
	policyValues
}

// policyValues is a policy as it is typed; a policy file has the same names.
type policyValues struct {
	Width          int           `json:"width" group:"Policy:" help:"How many hosts run at once; 0 means 1." placeholder:"N"`
	MaxUnavailable amount        `json:"max-unavailable" group:"Policy:" help:"How many hosts may be unavailable at once, those included that others took out: 3, 25% or 3,25%. Default: the width." placeholder:"N|N%"`
	Canary         int           `json:"canary" group:"Policy:" help:"How many hosts must succeed before any other begins." placeholder:"N"`
	WaveFirst      amount        `json:"wave-first" group:"Policy:" help:"Hosts of the first wave. Default: no waves." placeholder:"N|N%"`
	WaveGrowth     float64       `json:"wave-growth" group:"Policy:" help:"How many times the wave before the next one is." placeholder:"F"`
	Soak           site.Duration `json:"soak" group:"Policy:" help:"Time from the end of a wave, or of the canaries, to the next, such as 10m." placeholder:"TIME"`
	Budget         amount        `json:"budget" group:"Policy:" help:"How many hosts may fail; one more halts the rollout. Default: none." placeholder:"N|N%"`
	BudgetPerWave  amount        `json:"budget-per-wave" group:"Policy:" help:"How many hosts of one wave may fail." placeholder:"N|N%"`
	MinTried       int           `json:"min-tried" group:"Policy:" help:"How many hosts must be tried before a share of failures counts." placeholder:"N"`
	PerGroup       int           `json:"per-group" group:"Policy:" help:"How many hosts of one rack run at once." placeholder:"N"`
	Serial         bool          `json:"serial" group:"Policy:" help:"Finish one rack before the next begins."`
	Window         []window      `json:"window" group:"Policy:" help:"When hosts may be begun, such as 'Mon-Fri 22:00-05:00 Europe/Zurich'; without days every day, without a zone UTC. May be repeated." sep:"none" placeholder:"WINDOW"`
	Stagger        site.Duration `json:"stagger" group:"Policy:" help:"Least time between the beginnings of two hosts, such as 30s." placeholder:"TIME"`
	HostDeadline   site.Duration `json:"host-deadline" group:"Policy:" help:"How long one host may take, such as 2h; one that takes longer failed." placeholder:"TIME"`
	OutDeadline    site.Duration `json:"out-deadline" group:"Policy:" help:"How long hosts that others took out may keep everything waiting. Default: 24h." placeholder:"TIME"`
}

// Validate is called by kong.
func (f policyFlags) Validate() error {
	if f.Policy != "" && !reflect.DeepEqual(f.policyValues, policyValues{}) {
		return errors.New("--policy: give the file or the other flags of the policy, not both")
	}
	return nil
}

// policy returns the policy, which makes sense.
func (f policyFlags) policy() (lifecycle.Policy, error) {
	v := f.policyValues
	if f.Policy != "" {
		text, err := os.ReadFile(f.Policy)
		if err != nil {
			return lifecycle.Policy{}, lifecycle.Errorf(lifecycle.Invalid, "ncnctl", "", "the policy file: %w", err)
		}
		if err := yaml.UnmarshalStrict(text, &v); err != nil {
			return lifecycle.Policy{}, lifecycle.Errorf(lifecycle.Invalid, "ncnctl", "", "the policy file %s: %w", f.Policy, err)
		}
	}
	p := lifecycle.Policy{
		Width: v.Width, MaxUnavailable: v.MaxUnavailable.Amount, Canary: v.Canary,
		Waves:    lifecycle.Waves{First: v.WaveFirst.Amount, Growth: v.WaveGrowth, Soak: v.Soak.Duration},
		Budget:   lifecycle.Budget{Total: v.Budget.Amount, PerWave: v.BudgetPerWave.Amount, MinTried: v.MinTried},
		PerGroup: v.PerGroup, Serial: v.Serial,
		Stagger: v.Stagger.Duration, HostDeadline: v.HostDeadline.Duration, OutDeadline: v.OutDeadline.Duration,
	}
	for _, w := range v.Window {
		p.Windows = append(p.Windows, w.Window)
	}
	return p, p.Check()
}

// amount is a [lifecycle.Amount] that a file may have as a number, too.
type amount struct{ lifecycle.Amount }

// UnmarshalJSON reads 3 as well as "3", "25%" and "3,25%".
func (a *amount) UnmarshalJSON(text []byte) error { return a.UnmarshalText(bytes.Trim(text, `"`)) }

// window is a [lifecycle.Window] as it is typed: "Mon-Fri,Sun 22:00-05:00 Europe/Zurich".
type window struct{ lifecycle.Window }

var days = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// UnmarshalText reads a window. Whether its times and its zone make sense, the policy's check says.
func (w *window) UnmarshalText(text []byte) error {
	fail := fmt.Errorf("%q is no window: want one such as Mon-Fri 22:00-05:00 Europe/Zurich", text)
	fields := strings.Fields(string(text))
	var got lifecycle.Window
	if len(fields) > 1 && !strings.Contains(fields[0], ":") {
		var ok bool
		if got.Days, ok = parseDays(fields[0]); !ok {
			return fail
		}
		fields = fields[1:]
	}
	if len(fields) == 0 || len(fields) > 2 {
		return fail
	}
	var ok bool
	if got.Start, got.End, ok = strings.Cut(fields[0], "-"); !ok {
		return fail
	}
	if len(fields) == 2 {
		got.Location = fields[1]
	}
	w.Window = got
	return nil
}

// parseDays reads "Mon-Fri,Sun".
func parseDays(text string) ([]time.Weekday, bool) {
	var list []time.Weekday
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(days, first), slices.Index(days, last)
		if from < 0 || to < 0 {
			return nil, false
		}
		for d := from; ; d = (d + 1) % len(days) {
			list = append(list, time.Weekday(d))
			if d == to {
				break
			}
		}
	}
	return list, true
}

// windowText says a window as it is typed.
func windowText(w lifecycle.Window) string {
	var list []string
	for _, d := range w.Days {
		list = append(list, days[d])
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s-%s %s", strings.Join(list, ","), w.Start, w.End, w.Location))
}

// limits says what a policy means for so many hosts.
func limits(p lifecycle.Policy, hosts int) []string {
	width := max(1, p.Width)
	unavailable := width
	if p.MaxUnavailable != (lifecycle.Amount{}) {
		unavailable = p.MaxUnavailable.Of(hosts)
	}
	list := []string{
		fmt.Sprintf("at once: %d", width),
		fmt.Sprintf("unavailable: at most %d of %d, those included that others took out", unavailable, hosts),
	}
	add := func(on bool, format string, args ...any) {
		if on {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	failures := "none"
	if b := p.Budget.Total; b != (lifecycle.Amount{}) {
		failures = b.String()
	}
	add(true, "failures accepted: %s", failures)
	add(p.Budget.PerWave != (lifecycle.Amount{}), "failures accepted in one wave: %s", p.Budget.PerWave)
	add(p.Budget.MinTried > 0, "a share of failures counts when %d were tried", p.Budget.MinTried)
	add(p.Canary > 0, "canaries, which must all succeed: %d", p.Canary)
	add(p.Waves.Soak > 0, "between waves: %v", p.Waves.Soak)
	add(p.PerGroup > 0, "of one rack at once: %d", p.PerGroup)
	add(p.Serial, "one rack after the other")
	for _, w := range p.Windows {
		add(true, "begun only: %s", windowText(w))
	}
	add(p.Stagger > 0, "between two beginnings: %v", p.Stagger)
	add(p.HostDeadline > 0, "one host may take: %v", p.HostDeadline)
	return list
}
