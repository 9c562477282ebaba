package ipmi

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// refused gives the error for a session that did not come up: by what the BMC said on the wire, because go-ipmi loses
// that where a BMC says nothing but a number.
func (w *wire) refused(op string, bmc power.BMC, addr, user string, suite int, err error) error {
	fail := func(kind lifecycle.Kind, format string, args ...any) error {
		return lifecycle.Errorf(kind, op, bmc.String(), "the BMC at "+strings.ReplaceAll(addr, "%", "%%")+" "+format, args...)
	}
	switch status := w.refusal(); status {
	case types.RmcpStatusCodeNoErrors:
		return w.unopened(fail, bmc, user, err)
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeInvalidConfidentAlg,
		types.RmcpStatusCodeNoMatchingAuthPayload, types.RmcpStatusCodeNoMatchingIntegrityPayload, types.RmcpStatusCodeNoCipherSuiteMatch:
		return fail(lifecycle.Invalid, "refuses cipher suite %d (%s): enable suite 17 or 3 on it, and in Config.CipherSuites: %w",
			suite, because(status), errSuite)
	case types.RmcpStatusCodeUnauthorizedName, types.RmcpStatusCodeInvalidNameLength,
		types.RmcpStatusCodeInvalidIntegrityCheckValue, types.RmcpStatusCodeUnauthorizedGUID:
		return fail(lifecycle.Unauthenticated, "does not let in user %q (%s): check the credential bmc/%s", user, because(status), bmc)
	case types.RmcpStatusCodeUnauthorizedRoleOfPriLevel, types.RmcpStatusCodeInvalidRole:
		return fail(lifecycle.Denied, "does not give user %q this privilege level (%s): choose a lower Config.Privilege",
			user, because(status))
	case types.RmcpStatusCodeNoResToCreateSess, types.RmcpStatusCodeNoResToCreateSessAtRole,
		types.RmcpStatusCodeInvalidSessionID, types.RmcpStatusCodeInactiveSessionID:
		return fail(lifecycle.Unavailable, "has no free session (%s): another session holds it; close that, or wait 60 s for it to expire",
			because(status))
	default:
		return fail(lifecycle.Unavailable, "does not open a session (%s): restart the BMC, or upgrade its firmware", because(status))
	}
}

// because names a status of session setup (IPMI v2.0, table 13-15).
func because(status types.RmcpStatusCode) string {
	return fmt.Sprintf("%s, RMCP+ status %#02x", strings.ToLower(status.String()), uint8(status))
}

// unopened gives the error where session setup did not end with a status of the BMC's.
func (w *wire) unopened(fail func(lifecycle.Kind, string, ...any) error, bmc power.BMC, user string, err error) error {
	// go-ipmi prints this error into its own instead of wrapping it.
	if errors.Is(err, client.ErrRAKPAuthentication) || strings.Contains(err.Error(), client.ErrRAKPAuthentication.Error()) {
		return fail(lifecycle.Unauthenticated, "does not know user %q, or not with this password: check the credential bmc/%s", user, bmc)
	}
	code, answered := codeOf(err)
	level := code >= 0x80 && code <= 0x82 || code.kind(false) == lifecycle.Denied // of Set Session Privilege Level, §22.18
	switch {
	case answered && level && w.up():
		return fail(lifecycle.Denied, "does not give user %q this privilege level (%s): choose a lower Config.Privilege", user, code)
	case answered:
		return fail(lifecycle.Unavailable, "does not open a session (%s): try again later, or restart the BMC", code)
	}
	return fail(lifecycle.Unavailable, "did not open a session: check its address, its network, and whether IPMI over LAN is enabled: %w (%w)",
		errSilent, err)
}
