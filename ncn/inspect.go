package ncn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/internal/mutant"
)

// identity is what a machine says of itself.
type identity struct {
	XName     string // /etc/cray/xname
	UUID      string // DMI product UUID
	Boot      string // the kernel's boot ID
	CmdLine   string
	CloudInit string // "finished" or "running"
	Wiped     string // the run whose wipe this installation has lived through; empty is none
}

// inspect asks the machine who it is. Given host keys, only those are accepted.
func (s *Site) inspect(ctx context.Context, node lifecycle.Node, hostKeys []string) (identity, error) {
	cmd := command("ncn.inspect")
	cmd.HostKeys = hostKeys
	out, err := s.Exec.Run(ctx, node, cmd)
	if err != nil {
		return identity{}, err
	}
	return parseIdentity(out.Stdout)
}

func parseIdentity(out []byte) (identity, error) {
	var id identity
	fields := map[string]*string{"xname": &id.XName, "uuid": &id.UUID, "boot": &id.Boot, "cmdline": &id.CmdLine, "cloud-init": &id.CloudInit, "wiped": &id.Wiped}
	for line := range bytes.Lines(out) {
		tag, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		if f, ok := fields[tag]; ok {
			*f = strings.TrimSpace(value)
		}
	}
	if id.XName == "" || id.UUID == "" || id.Boot == "" {
		return id, lifecycle.Errorf(lifecycle.Precondition, "ncn.inspect", "",
			"the machine does not tell its xname, UUID and boot ID; look at /etc/cray/xname and /sys/class/dmi/id/product_uuid on it")
	}
	return id, nil
}

// checkIdentity refuses a machine that is not the one that the plan is for. Its host key was checked by the runner; this
// compares two more identities that are independent of it and of each other (I2).
func checkIdentity(f *Facts, id identity) error {
	if mutant.On("wipe-without-identity") {
		f.Node.XName, f.UUID = id.XName, id.UUID
		return nil
	}
	switch {
	case id.XName != f.Node.XName:
		return lifecycle.Errorf(lifecycle.Precondition, "ncn.identify", f.Node.Name,
			"the machine that answers as %s says that it is %s, and the inventory has %s; look for a swapped cable or a reused address",
			f.Node.Name, id.XName, f.Node.XName)
	case f.UUID != "" && id.UUID != f.UUID:
		return lifecycle.Errorf(lifecycle.Precondition, "ncn.identify", f.Node.Name,
			"the machine's DMI UUID is %s, and the plan has %s; if the board was replaced, make a new plan", id.UUID, f.UUID)
	}
	return nil
}

// announcedKeys returns the host keys that the node announced at the end of its first boot (cloud-init's phone_home, kept
// by BSS).
func announcedKeys(e bss.Entry) []string {
	var keys []string
	for _, k := range []string{e.CloudInit.PhoneHome.ED25519, e.CloudInit.PhoneHome.ECDSA, e.CloudInit.PhoneHome.RSA} {
		if k = strings.TrimSpace(k); k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

// explainExec says what to do about a node that cannot be asked.
func explainExec(err error, node string) error {
	var exit *lifecycle.ExitError
	switch {
	case errors.As(err, &exit):
		return fmt.Errorf("a command on %s failed: %w", node, err)
	case errors.Is(err, lifecycle.Denied):
		return fmt.Errorf("%w; compare the host key with the machine's console before trusting it", err)
	}
	return err
}
