package ipmi_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/ipmi"
	"github.com/ncnkit/lifecycle/power/powertest"
)

// passwords are Credentials from a map.
type passwords map[string]lifecycle.Credential

func (p passwords) Credential(_ context.Context, name string) (lifecycle.Credential, error) {
	c, ok := p[name]
	if !ok {
		return c, lifecycle.Errorf(lifecycle.NotFound, "passwords", "", "no credential %s", name)
	}
	return c, nil
}

func Example() {
	secret := lifecycle.Credential{Username: "root", Password: lifecycle.NewSecret("initial0")}
	srv, err := fakebmc.Serve(fakebmc.Config{Backend: &powertest.Machine{}, Username: secret.Username, Password: secret.Password})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()

	ctx := context.Background()
	ctl := ipmi.New(ipmi.Config{Credentials: passwords{"bmc/x3000c0s7b0": secret}})
	bmc := power.BMC{Name: "x3000c0s7b0", Host: srv.Addr()} // on a real network: "10.1.0.7", port 623

	if err := power.SetBoot(ctx, ctl, bmc, power.Boot{Device: power.PXE, EFI: true}); err != nil {
		fmt.Println(err)
	}
	if err := power.TurnOn(ctx, ctl, bmc, power.WithPoll(time.Millisecond, time.Second)); err != nil {
		fmt.Println(err)
	}
	state, err := ctl.State(ctx, bmc)
	fmt.Println(state, err)
	// Output: on <nil>
}
