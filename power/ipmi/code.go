package ipmi

import (
	"errors"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// completion is the code with which a BMC answered (IPMI v2.0, table 5-2).
type completion byte

// String names the code.
func (c completion) String() string {
	return fmt.Sprintf("completion code %#02x: %s", byte(c), types.CompletionCode(c))
}

// codeOf returns the completion code in err, if the BMC has answered.
func codeOf(err error) (completion, bool) {
	var r *types.ResponseError
	if errors.As(err, &r) && r.CompletionCode() != types.CodeOK {
		return completion(r.CompletionCode()), true
	}
	return 0, false
}

// kind says what a code means for a question, or for a command, of which it may leave open whether it was executed.
func (c completion) kind(command bool) lifecycle.Kind {
	switch types.CompletionCode(c) {
	case types.CodeNotSupported: // 0xd5: not supported in present state
		return lifecycle.Precondition
	case types.CodeInsufficientPrivilege:
		return lifecycle.Denied
	case types.CodeProcessTimeout, types.CodeCannotProvideResponse, types.CodeUnspecifiedError:
		if command {
			return lifecycle.Unknown
		}
		return lifecycle.Unavailable
	case types.CodeParameterNotSupported, types.CodeParamConfigSetReadOnly, types.CodeInvalidCommand, types.CodeInvalidCommandForLUN,
		types.CodeRequestDataTruncated, types.CodeRequestDataLengthInvalid, types.CodeRequestDataLengthLimitExceeded,
		types.CodeParameterOutOfRange, types.CodeRequestedDataNotPresent, types.CodeRequestDataFieldInvalid, types.CodeIllegalCommand,
		types.CodeSubFnDisabled:
		return lifecycle.Invalid
	}
	return lifecycle.Unavailable // busy, out of space, updating its firmware, …
}

// asked gives the error for a question that was not answered as hoped.
func asked(op string, bmc power.BMC, what string, ended, err error) error {
	code, ok := codeOf(err)
	switch {
	case err == nil:
		return nil
	case ok:
		return lifecycle.Errorf(code.kind(false), op, bmc.String(), "the BMC refuses to %s: %s", what, code)
	case ended != nil:
		return lifecycle.Errorf(lifecycle.KindOf(ended), op, bmc.String(), "stopped before the BMC answered: %w", ended)
	}
	return lifecycle.Errorf(lifecycle.Unavailable, op, bmc.String(),
		"the BMC opened a session, and did not answer when asked to %s: %w", what, err)
}

// told gives the error for a command that was not answered as hoped.
func told(op string, bmc power.BMC, what string, sent bool, err error) error {
	code, ok := codeOf(err)
	switch {
	case err == nil:
		return nil
	case ok && code.kind(true) == lifecycle.Unknown:
		return lifecycle.Errorf(lifecycle.Unknown, op, bmc.String(),
			"the BMC does not say whether it did %s: %s; look before you send it again", what, code)
	case ok:
		return lifecycle.Errorf(code.kind(true), op, bmc.String(), "the BMC refuses %s: %s", what, code)
	case sent:
		return lifecycle.Errorf(lifecycle.Unknown, op, bmc.String(),
			"%s was sent and not answered; look before you send it again: %w", what, err)
	}
	return lifecycle.Errorf(lifecycle.Unavailable, op, bmc.String(), "%s was not sent: %w", what, err)
}
