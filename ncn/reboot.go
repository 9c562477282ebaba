package ncn

import (
	"context"
	"errors"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/internal/mutant"
	"github.com/ncnkit/lifecycle/power"
)

// Reboot makes a node boot once from the network: boot device, power off, power on, each seen to have happened; then it
// waits until the node has fetched its boot script, finished cloud-init, and answers as itself on a new boot.
//
// Errors: Invalid, NotFound, Precondition (another machine answers, or another image was booted), Timeout (names what was
// waited for), Unavailable.
func Reboot(ctx context.Context, h Host, opts ...Option) error {
	return do(ctx, "ncn.Reboot", "ncn.reboot", h, "", opts)
}

func (w *work) rebootOnly() (steps, finally []lifecycle.Step) { return w.rebootSteps(), nil }

func (w *work) rebootSteps() []lifecycle.Step {
	node := w.facts.Node
	bmc := power.BMC{Name: bmcName(node), Host: node.BMC}
	pxe := power.Boot{Device: power.PXE, EFI: true}
	return []lifecycle.Step{
		{
			ID: "boot-device", Effect: lifecycle.Idempotent, Timeout: powerTimeout,
			Summary: "boot " + node.Name + " from the network, once",
			Done: func(ctx context.Context) (bool, error) {
				got, err := w.site.Power.Boot(ctx, bmc)
				return err == nil && got == pxe, err
			},
			Do: w.onBMC(func(ctx context.Context, opts ...power.Option) error {
				return power.SetBoot(ctx, w.site.Power, bmc, pxe, opts...)
			}),
		},
		{
			ID: "power-off", Effect: lifecycle.Idempotent, Timeout: powerTimeout,
			Summary: "turn " + node.Name + " off, and see it off",
			Done:    w.is(bmc, power.Off),
			Do: w.onBMC(func(ctx context.Context, opts ...power.Option) error {
				if err := power.TurnOff(ctx, w.site.Power, bmc, opts...); err != nil {
					return err
				}
				return w.settle(ctx)
			}),
		},
		{
			ID: "power-on", Effect: lifecycle.Idempotent, Timeout: powerTimeout,
			Summary: "turn " + node.Name + " on, and see it on",
			Done:    w.is(bmc, power.On),
			Do: w.onBMC(func(ctx context.Context, opts ...power.Option) error {
				return power.TurnOn(ctx, w.site.Power, bmc, opts...)
			}),
		},
		{
			ID: "boot-script", Effect: lifecycle.Idempotent, Timeout: bootTimeout,
			Summary: "wait until " + node.Name + " has fetched its boot script, and keep it on",
			Done:    w.fetchedBootScript,
			Do:      func(ctx context.Context) error { return w.waitBootScript(ctx, bmc) },
		},
		{
			ID: "boot", Effect: lifecycle.Read, Timeout: bootTimeout,
			Summary: "wait until " + node.Name + " is up on a new boot, and cloud-init has finished",
			Do:      w.waitBoot,
		},
		{
			ID: "host-key", Effect: lifecycle.Idempotent,
			Summary: "keep the host key that " + node.Name + " announced",
			Do:      w.keepHostKey,
		},
	}
}

// bmcName is the BMC's xname, which is the node's without its last part (x3000c0s7b0n0 is behind x3000c0s7b0).
func bmcName(node lifecycle.Node) string {
	for i := len(node.XName) - 1; i > 0; i-- {
		if node.XName[i] == 'n' {
			return node.XName[:i]
		}
	}
	return node.BMC
}

// onBMC tells the run's observers what a BMC is waited for.
func (w *work) onBMC(act func(context.Context, ...power.Option) error) func(context.Context) error {
	return func(ctx context.Context) error {
		opts := []power.Option{power.WithProgress(func(what, why string) { lifecycle.Notify(ctx, what, why) })}
		if w.site.Poll > 0 {
			opts = append(opts, power.WithPoll(w.site.Poll, w.site.Poll))
		}
		return act(ctx, opts...)
	}
}

func (w *work) is(bmc power.BMC, want power.State) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		got, err := w.site.Power.State(ctx, bmc)
		return err == nil && got == want, err
	}
}

// settle keeps the node off for a while, so that its power supplies and adapters have forgotten.
func (w *work) settle(ctx context.Context) error {
	timer := time.NewTimer(or(w.site.Settle, 5*time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *work) fetchedBootScript(ctx context.Context) (bool, error) {
	last, err := w.site.BSS.LastFetch(ctx, w.facts.Node.XName, "bootscript")
	return last != w.facts.Fetched, err
}

// waitBootScript also turns a node on again that went off after it was seen on: a slow BMC can obey an off that was sent
// twice after the on. It does so twice at most.
func (w *work) waitBootScript(ctx context.Context, bmc power.BMC) error {
	again := 0
	return lifecycle.Wait(ctx, w.facts.Node.Name+" to fetch its boot script", or(w.site.Poll, 5*time.Second), bootTimeout, func(ctx context.Context) (bool, string, error) {
		if fetched, err := w.fetchedBootScript(ctx); fetched || err != nil {
			return fetched, "", err
		}
		state, err := w.site.Power.State(ctx, bmc)
		if err != nil {
			return false, "", lookAgain(err)
		}
		if state == power.On || again == 2 {
			return false, "not fetched since the plan was made", nil
		}
		again++
		return false, "it was off again", w.onBMC(func(ctx context.Context, opts ...power.Option) error {
			return power.TurnOn(ctx, w.site.Power, bmc, opts...)
		})(ctx)
	})
}

// waitBoot looks at the node through the host keys that it announces, and at nothing else: they are what the plan expects.
func (w *work) waitBoot(ctx context.Context) error {
	node := w.facts.Node
	return lifecycle.Wait(ctx, node.Name+" to be up on a new boot", or(w.site.Poll, 5*time.Second), bootTimeout, func(ctx context.Context) (bool, string, error) {
		keys, err := w.announced(ctx)
		if err != nil {
			return false, "", err
		}
		if len(keys) == 0 {
			return false, "it has announced no host key yet", nil
		}
		id, err := w.site.inspect(ctx, node, keys)
		switch {
		case errors.Is(err, lifecycle.Denied):
			return false, "it has not announced the host key that it shows", nil
		case errors.Is(err, lifecycle.Unavailable), errors.Is(err, lifecycle.Unknown):
			return false, "it does not answer", nil
		case errors.As(err, new(*lifecycle.ExitError)):
			return false, "it is not ready to be asked", nil
		case err != nil:
			return false, "", err
		}
		return w.booted(ctx, id)
	})
}

func (w *work) announced(ctx context.Context) ([]string, error) {
	entry, err := w.site.BSS.Get(ctx, w.facts.Node.XName)
	return announcedKeys(entry), err
}

// booted judges the node that answers.
func (w *work) booted(ctx context.Context, id identity) (ok bool, why string, err error) {
	switch {
	case mutant.On("old-boot-accepted"):
		return true, "", nil
	case id.Boot == w.facts.Boot:
		return false, "it is still on the boot that the plan saw", nil
	case id.CloudInit != "finished":
		return false, "cloud-init is running", nil
	}
	if err := checkIdentity(&w.facts, id); err != nil {
		return false, "", err
	}
	if e, _ := lifecycle.ExecutionFrom(ctx); id.Wiped != "" && id.Wiped == e.Run {
		return false, "", lifecycle.Errorf(lifecycle.Precondition, "ncn.Reboot", w.facts.Node.Name,
			"the node booted the system that it had, and was not installed anew; was it disarmed meanwhile? Look at metal.no-wipe, and rebuild it again")
	}
	p := bss.ParseParams(id.CmdLine)
	server, _ := p.Get("metal.server")
	if want := w.wantedImage(); want != "" && imagePath(server) != want {
		return false, "", lifecycle.Errorf(lifecycle.Precondition, "ncn.Reboot", w.facts.Node.Name,
			"the node booted %s, and the plan has %s; look at its boot order and boot parameters", server, want)
	}
	return true, "", nil
}

func (w *work) keepHostKey(ctx context.Context) error {
	keeper, ok := w.site.Exec.(lifecycle.HostKeyKeeper)
	if !ok {
		return nil
	}
	keys, err := w.announced(ctx)
	if err != nil {
		return err
	}
	if err := lifecycle.StillDriving(ctx); err != nil {
		return err
	}
	return keeper.KeepHostKeys(ctx, w.facts.Node, keys)
}
