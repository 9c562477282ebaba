package lifecycle

import "context"

// Execution is the identity under which a step has its effects. Targets that can keep a marker are given Run and Epoch
// with the effect, and refuse an older epoch.
type Execution struct {
	Run     string
	Target  string
	Step    string
	Epoch   int64
	Begun   bool // the step's intent is durable: its effect may have happened
	Actor   string
	Request string
}

type (
	executionKey struct{}
	driverKey    struct{}
	dryRunKey    struct{}
)

// ExecutionFrom returns the execution that ctx belongs to. Outside a run there is none.
func ExecutionFrom(ctx context.Context) (Execution, bool) {
	e, ok := ctx.Value(executionKey{}).(Execution)
	return e, ok
}

// InDryRun reports whether ctx belongs to a [DryRun].
func InDryRun(ctx context.Context) bool {
	on, _ := ctx.Value(dryRunKey{}).(bool)
	return on
}

// StillDriving reads the journal, and returns a [Conflict] when another driver has taken the run over. A step calls it
// right before an effect on a target that cannot keep a marker: a BMC, say. Outside a run it returns nil.
func StillDriving(ctx context.Context) error {
	d, ok := ctx.Value(driverKey{}).(*driver)
	if !ok {
		return nil
	}
	return d.stillDriving(ctx)
}

// Notify tells the run's observers what a step waits for, and why it is not there yet. Outside a run it does nothing.
func Notify(ctx context.Context, waitingFor, why string) {
	d, ok := ctx.Value(driverKey{}).(*driver)
	if !ok {
		return
	}
	e, _ := ExecutionFrom(ctx)
	detail := waitingFor
	if why != "" {
		detail += ": " + why
	}
	d.emit(Event{Type: EventWait, Step: e.Step, Detail: detail})
}
