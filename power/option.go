package power

import "time"

// Defaults of the options. The quiet interval must be longer than a BMC needs to show what it did.
const (
	defaultTimeout = 2 * time.Minute
	defaultFirst   = time.Second
	defaultMax     = 5 * time.Second
	defaultQuiet   = 20 * time.Second
	bootQuiet      = 5 * time.Second // for a boot override to show
	defaultSettle  = 5 * time.Second
	callTimeout    = 30 * time.Second // of one question to a BMC, so that one that hangs does not eat the whole wait
	maxSends       = 3                // of one idempotent command, or of one boot override
)

// Option changes how a verb of this package waits.
type Option func(*options)

type options struct {
	timeout    time.Duration
	first, max time.Duration
	quiet      time.Duration
	settle     time.Duration
	native     bool
	soft       softness
	grace      time.Duration
	progress   func(waitingFor, why string)
}

type softness int

const (
	hard softness = iota
	softFirst
	softOnly
)

func gather(opts []Option) options {
	o := options{
		timeout: defaultTimeout, first: defaultFirst, max: defaultMax, settle: defaultSettle,
		progress: func(string, string) {},
	}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// quietOr returns the quiet interval, or what a verb takes for it by default.
func (o options) quietOr(def time.Duration) time.Duration {
	if o.quiet > 0 {
		return o.quiet
	}
	return def
}

// WithTimeout sets the deadline of each wait (a cycle has two: for off, and for on). The default is 2 minutes.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithPoll sets the pause between two looks: first right after a command, growing to longest. The defaults are 1 and 5
// seconds; first must be positive, else nothing changes.
func WithPoll(first, longest time.Duration) Option {
	return func(o *options) {
		if first > 0 {
			o.first, o.max = first, longest
		}
	}
}

// WithQuiet sets how long nothing may happen after an accepted command before it is sent again. The default is 20
// seconds, and 5 seconds for the boot override. Only commands that may be repeated are: on, off, the boot override.
func WithQuiet(d time.Duration) Option { return func(o *options) { o.quiet = d } }

// WithSettle sets how long [Cycle] leaves a machine off. The default is 5 seconds.
func WithSettle(d time.Duration) Option { return func(o *options) { o.settle = d } }

// WithNative makes [Cycle] use the BMC's own cycle command, sent exactly once. See there for what that costs.
func WithNative() Option { return func(o *options) { o.native = true } }

// WithSoftFirst makes [TurnOff] and [Cycle] ask the operating system to shut down, and turn the machine off hard when it
// is still on after grace.
func WithSoftFirst(grace time.Duration) Option {
	return func(o *options) { o.soft, o.grace = softFirst, grace }
}

// WithSoftOnly makes [TurnOff] and [Cycle] ask the operating system to shut down, and never use force: a machine that does
// not obey within the deadline is a Timeout.
func WithSoftOnly() Option { return func(o *options) { o.soft = softOnly } }

// WithProgress has f called at every look that did not end the wait: what is waited for, and why it is not there yet. f is
// called from the goroutine of the verb and must return soon.
func WithProgress(f func(waitingFor, why string)) Option {
	return func(o *options) {
		if f != nil {
			o.progress = f
		}
	}
}
