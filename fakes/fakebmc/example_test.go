package fakebmc_test

import (
	"context"
	"fmt"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/ipmi"
	"github.com/ncnkit/lifecycle/power/powertest"
)

// same is Credentials with one answer.
type same lifecycle.Credential

func (s same) Credential(context.Context, string) (lifecycle.Credential, error) {
	return lifecycle.Credential(s), nil
}

func ExampleServe() {
	root := lifecycle.Credential{Username: "root", Password: lifecycle.NewSecret("initial0")}
	machine := &powertest.Machine{}
	srv, err := fakebmc.Serve(fakebmc.Config{
		BMC: power.BMC{Name: "x3000c0s7b0"}, Backend: machine, Username: root.Username, Password: root.Password,
		OnWire: func(e fakebmc.Event) { fmt.Println(e) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()

	ctl := ipmi.New(ipmi.Config{Credentials: same(root)})
	err = ctl.Do(context.Background(), power.BMC{Name: "x3000c0s7b0", Host: srv.Addr()}, power.ActionOn)
	fmt.Println(err, machine.Actions())
	// Output:
	// x3000c0s7b0: session opened by root (suite 17)
	// x3000c0s7b0: chassis command by root (suite 17) on
	// x3000c0s7b0: session closed by root (suite 17)
	// <nil> [on]
}

func ExampleNewRelay() {
	root := lifecycle.Credential{Username: "root", Password: lifecycle.NewSecret("initial0")}
	machine := &powertest.Machine{}
	srv, err := fakebmc.Serve(fakebmc.Config{Backend: machine, Username: root.Username, Password: root.Password})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	// Nothing that the BMC says in a session arrives.
	relay, err := fakebmc.NewRelay(srv.Addr(), func(p fakebmc.Packet) fakebmc.Verdict {
		return fakebmc.Verdict{Drop: !p.ToBMC && p.Session != 0 && p.Seq > 1}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer relay.Close()

	ctl := ipmi.New(ipmi.Config{Credentials: same(root), Timeout: 500e6})
	err = ctl.Do(context.Background(), power.BMC{Host: relay.Addr()}, power.ActionOn)
	fmt.Println(lifecycle.KindOf(err), machine.Actions())
	// Output: outcome unknown [on]
}
