package itest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/power"
	"github.com/ncnkit/lifecycle/power/ipmi"
	"github.com/ncnkit/lifecycle/power/powertest"
)

const (
	bmcName     = "x3000c0s7b0"
	bmcUser     = "admin"
	bmcPassword = "testpass"
)

// vault is Credentials with one answer.
type vault lifecycle.Credential

func (v vault) Credential(context.Context, string) (lifecycle.Credential, error) {
	return lifecycle.Credential(v), nil
}

func login(user, password string) vault {
	return vault{Username: user, Password: lifecycle.NewSecret(password)}
}

// chassis is what ipmi_sim calls for a machine: "get <what>…" prints "<what>:<value>", "set <what> <value>…" does it. This
// machine shuts down when it is asked to, and a reset changes nothing, whether it is on or off.
const chassis = `#!/bin/sh
set -eu
dir=$1
verb=$2
shift 2
while [ $# -gt 0 ]; do
  what=$1
  shift
  if [ "$verb" = get ]; then
    printf '%s:%s\n' "$what" "$(cat "$dir/$what")"
    continue
  fi
  case $what in
  shutdown) printf 0 >"$dir/power" ;;
  reset) ;;
  *) printf '%s' "$1" >"$dir/$what" ;;
  esac
  shift
done
`

// startSimulator starts OpenIPMI's ipmi_sim for one machine that is off, and returns its address.
func startSimulator(t *testing.T) power.BMC {
	t.Helper()
	bin := program(t, "ipmi_sim", "openipmi")
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
	}
	write("chassis.sh", chassis, 0o700)
	write("power", "0", 0o600)
	write("boot", "default", 0o600)
	write("bmc.emu", "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n", 0o600)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	for try := range 3 { // the port may be taken in the meantime
		port := freePort(t, "udp")
		write("lan.conf", `name "bmc1"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 `+port+`
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "`+dir+`/chassis.sh `+dir+`"
startnow false
user 2 true "`+bmcUser+`" "`+bmcPassword+`" admin 10 none md2 md5 straight
`, 0o600)
		p := start(t, fmt.Sprintf("%s/log-%d", dir, try), bin, "-c", dir+"/lan.conf", "-f", dir+"/bmc.emu", "-s", dir+"/state", "-n")
		bmc := power.BMC{Name: bmcName, Host: "127.0.0.1:" + port}
		ctl := ipmi.New(ipmi.Config{Credentials: login(bmcUser, bmcPassword), Timeout: 2 * time.Second})
		soon(t, "ipmi_sim answers", func() bool {
			_, err := ctl.State(bounded(t), bmc)
			return err == nil || p.gone()
		})
		if !p.gone() {
			return bmc
		}
	}
	t.Fatal("ipmi_sim does not start")
	return power.BMC{}
}

// Against an implementation of IPMI that is not ours, the adapter passes the suite. Its known differences: it does not speak
// suite 17, a cycle turns on a machine that is off, a reset of one is ignored (by the script above), and the flags of the
// boot override are never marked valid.
func TestIPMISimulator(t *testing.T) {
	bmc := startSimulator(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	for name, suites := range map[string][]int{"suite 3": {3}, "suite 17, then 3": nil} {
		t.Run(name, func(t *testing.T) {
			ctl := ipmi.New(ipmi.Config{Credentials: login(bmcUser, bmcPassword), CipherSuites: suites})
			powertest.Run(t, powertest.Harness{
				Controller: ctl, BMC: bmc, Wait: 4 * time.Second,
				Silent:       power.BMC{Name: "silent", Host: silent.LocalAddr().String()},
				CycleTurnsOn: true, ResetIgnored: true, LosesBoot: true,
			})
		})
	}
	_, err = ipmi.New(ipmi.Config{Credentials: login(bmcUser, bmcPassword), CipherSuites: []int{17}}).State(bounded(t), bmc)
	require.Equal(t, lifecycle.Invalid, lifecycle.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "refuses cipher suite 17")
}

func TestIPMISimulatorRefuses(t *testing.T) {
	bmc := startSimulator(t)
	for name, who := range map[string]vault{
		"wrong password": login(bmcUser, "canary-secret"),
		"no password":    login(bmcUser, ""),
		"unknown user":   login("nobody", bmcPassword),
	} {
		t.Run(name, func(t *testing.T) {
			ctl := ipmi.New(ipmi.Config{Credentials: who})
			_, err := ctl.State(bounded(t), bmc)
			require.Equal(t, lifecycle.Unauthenticated, lifecycle.KindOf(err), "%v", err)
			require.NotContains(t, err.Error(), "canary")
			err = ctl.Do(bounded(t), bmc, power.ActionOn)
			require.Equal(t, lifecycle.Unauthenticated, lifecycle.KindOf(err), "%v", err)
		})
	}
	state, err := ipmi.New(ipmi.Config{Credentials: login(bmcUser, bmcPassword)}).State(bounded(t), bmc)
	require.NoError(t, err)
	require.Equal(t, power.Off, state)
}

// fake is our own BMC, what is behind it, and what it saw.
type fake struct {
	machine *powertest.Machine
	srv     *fakebmc.Server
	host    string
	port    string

	mu   sync.Mutex
	seen []fakebmc.Event
}

func startFake(t *testing.T, initial power.State) *fake {
	t.Helper()
	f := &fake{machine: &powertest.Machine{Initial: initial}}
	var err error
	f.srv, err = fakebmc.Serve(fakebmc.Config{
		BMC: power.BMC{Name: bmcName}, Backend: f.machine, Username: bmcUser, Password: lifecycle.NewSecret(bmcPassword),
		OnWire: func(e fakebmc.Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.seen = append(f.seen, e)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.srv.Close()) })
	f.host, f.port, err = net.SplitHostPort(f.srv.Addr())
	require.NoError(t, err)
	return f
}

// suites are the cipher suites of the sessions that were opened, each once.
func (f *fake) suites() map[int]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := map[int]bool{}
	for _, e := range f.seen {
		if e.What == fakebmc.SessionOpened {
			used[e.Suite] = true
		}
	}
	return used
}

// output runs a client that must succeed, and returns what it printed.
func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(bounded(t), path, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// The client that operators use sees a BMC in ours, bit for bit.
func TestIPMIToolOnOurBMC(t *testing.T) {
	tool := program(t, "ipmitool", "ipmitool")
	for _, suite := range []int{3, 17} {
		t.Run(fmt.Sprint("suite ", suite), func(t *testing.T) {
			f := startFake(t, power.Off)
			common := []string{"-I", "lanplus", "-H", f.host, "-p", f.port, "-U", bmcUser, "-P", bmcPassword, "-C", fmt.Sprint(suite)}
			ipmitool := func(words string) string {
				t.Helper()
				return output(t, tool, append(common[:len(common):len(common)], strings.Fields(words)...)...)
			}
			require.Regexp(t, `(?m)^System Power +: off$`, ipmitool("chassis status"))
			require.Equal(t, "Chassis Power Control: Up/On", ipmitool("power on"))
			require.Equal(t, "Chassis Power is on", ipmitool("power status"))
			require.Equal(t, "Chassis Power Control: Cycle", ipmitool("power cycle"))
			require.Equal(t, "Chassis Power Control: Reset", ipmitool("power reset"))
			require.Equal(t, "Chassis Power Control: Soft", ipmitool("power soft"))
			require.Equal(t, "Chassis Power is off", ipmitool("power status"))
			require.Equal(t, "Chassis Power Control: Down/Off", ipmitool("power off"))

			require.Empty(t, ipmitool("raw 0x00 0x08 0x03 0x08"))
			require.Contains(t, ipmitool("chassis bootparam get 3"), "Boot parameter data: 08")
			require.Contains(t, ipmitool("chassis bootdev pxe options=efiboot,persistent"), "Set Boot Device to pxe")
			got := ipmitool("chassis bootparam get 5")
			require.Contains(t, got, "Boot parameter data: e004000000")
			require.Contains(t, got, "Boot parameter 5 is valid/unlocked")
			require.Contains(t, got, "Options apply to all future boots")
			require.Contains(t, got, "BIOS EFI boot")
			require.Contains(t, got, "Force PXE")
			kept, err := f.machine.Boot(bounded(t), power.BMC{})
			require.NoError(t, err)
			require.Equal(t, power.Boot{Device: power.PXE, EFI: true, Persistent: true}, kept)

			require.Empty(t, cmp.Diff([]power.Action{power.ActionOn, power.ActionCycle, power.ActionReset, power.ActionSoftOff, power.ActionOff}, f.machine.Actions()))
			require.Equal(t, map[int]bool{suite: true}, f.suites())
			require.Zero(t, f.srv.Sessions(), "every session was closed")

			out, err := exec.CommandContext(bounded(t), tool, append(common, "power", "cycle")...).CombinedOutput()
			require.Error(t, err, "a cycle of a machine that is off")
			require.Contains(t, string(out), "Command not supported in present state")
		})
	}
	f := startFake(t, power.On)
	out, err := exec.CommandContext(bounded(t), tool, "-I", "lanplus", "-H", f.host, "-p", f.port, "-U", bmcUser, "-P", "wrong", "-C", "17",
		"power", "off").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "Unable to establish IPMI v2 / RMCP+ session")
	require.Empty(t, f.machine.Actions())
}

// What our client writes, theirs reads: the two agree on what a boot override is.
func TestIPMIToolReadsWhatWeWrote(t *testing.T) {
	tool := program(t, "ipmitool", "ipmitool")
	f := startFake(t, power.On)
	ctl := ipmi.New(ipmi.Config{Credentials: login(bmcUser, bmcPassword)})
	bmc := power.BMC{Name: bmcName, Host: f.srv.Addr()}
	for want, boot := range map[string]power.Boot{
		"a004000000": {Device: power.PXE, EFI: true},
		"e008000000": {Device: power.Disk, EFI: true, Persistent: true},
		"8004000000": {Device: power.PXE},
		"8000000000": {Device: power.DeviceNone}, // valid flags that name no device
	} {
		require.NoError(t, power.SetBoot(bounded(t), ctl, bmc, boot))
		got := output(t, tool, "-I", "lanplus", "-H", f.host, "-p", f.port, "-U", bmcUser, "-P", bmcPassword, "-C", "17", "chassis", "bootparam", "get", "5")
		require.Contains(t, got, "Boot parameter data: "+want, "%v", boot)
	}
}

func TestFreeIPMIOnOurBMC(t *testing.T) {
	tool := program(t, "ipmipower", "freeipmi-tools")
	for _, suite := range []int{3, 17} {
		t.Run(fmt.Sprint("suite ", suite), func(t *testing.T) {
			f := startFake(t, power.On)
			ipmipower := func(flags ...string) string {
				t.Helper()
				return output(t, tool, append([]string{
					"-D", "LAN_2_0", "-h", f.srv.Addr(), "-u", bmcUser, "-p", bmcPassword, "-I", fmt.Sprint(suite),
				}, flags...)...)
			}
			require.Equal(t, f.host+": on", ipmipower("--stat"))
			require.Equal(t, f.host+": ok", ipmipower("--off"))
			require.Equal(t, f.host+": off", ipmipower("--stat"))
			require.Equal(t, f.host+": ok", ipmipower("--on", "--wait-until-on"))
			require.Empty(t, cmp.Diff([]power.Action{power.ActionOff, power.ActionOn}, f.machine.Actions()))
			require.Equal(t, map[int]bool{suite: true}, f.suites())
		})
	}
}
