package lifecycle

import (
	"context"
	"errors"
	"slices"
)

// Verdict is what a dry run says of a step.
type Verdict string

// The verdicts.
const (
	WouldDo   Verdict = "would do"
	InPlace   Verdict = "in place already"
	AtItsTurn Verdict = "checked when its turn comes"
	WouldFail Verdict = "refused"
)

// Forecast is what would become of one step.
type Forecast struct {
	Step    string  `json:"step"`
	Summary string  `json:"summary"`
	Effect  Effect  `json:"effect"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// DryRun looks and checks as [Run] would, and writes nothing anywhere, not even to a journal. The error is nil unless the
// plan cannot be run at all; a step that would be refused is in the forecast.
func DryRun(ctx context.Context, p *Plan, opts ...Option) ([]Forecast, error) {
	const op = "lifecycle.DryRun"
	if err := p.check(op); err != nil {
		return nil, err
	}
	d := &driver{config: newConfig(opts), plan: p}
	ctx = context.WithValue(ctx, dryRunKey{}, true)
	var out []Forecast
	for _, s := range slices.Concat(p.Steps, p.Finally) {
		if ctx.Err() != nil {
			return out, Wrap(ctx.Err(), op, p.Target)
		}
		f := Forecast{Step: s.ID, Summary: s.Summary, Effect: s.Effect}
		f.Verdict, f.Detail = d.forecast(ctx, s)
		out = append(out, f)
	}
	return out, nil
}

func (d *driver) forecast(parent context.Context, s Step) (Verdict, string) {
	ctx, cancel := d.within(parent, s)
	defer cancel()
	if s.Done != nil {
		done, err := s.Done(ctx)
		switch {
		case errors.Is(err, NotYet):
			return AtItsTurn, ""
		case err != nil:
			return WouldFail, err.Error()
		case done:
			return InPlace, ""
		}
	}
	if s.Before != nil {
		switch err := s.Before(ctx); {
		case errors.Is(err, NotYet):
			return AtItsTurn, ""
		case err != nil:
			return WouldFail, err.Error()
		}
	}
	if s.Effect == Read {
		return AtItsTurn, ""
	}
	return WouldDo, ""
}
