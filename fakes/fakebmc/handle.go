package fakebmc

import (
	"context"
	"errors"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/power"
)

// actions are the chassis commands of IPMI v2.0, table 28-4.
var actions = map[chassis.ChassisControl]power.Action{
	chassis.ChassisControlPowerDown:    power.ActionOff,
	chassis.ChassisControlPowerUp:      power.ActionOn,
	chassis.ChassisControlPowerCycle:   power.ActionCycle,
	chassis.ChassisControlHardReset:    power.ActionReset,
	chassis.ChassisControlSoftShutdown: power.ActionSoftOff,
}

// registry is go-ipmi's, with the chassis commands replaced by ours.
func (s *Server) registry() *handlers.Registry {
	r := handlers.NewRegistry()
	handlers.RegisterAllHandlers(r)
	r.RegisterFunc(types.CommandGetChassisStatus, s.handler(s.status))
	r.RegisterFunc(types.CommandChassisControl, s.handler(s.control))
	r.RegisterFunc(types.CommandSetSystemBootOptions, s.handler(s.setBootOption))
	r.RegisterFunc(types.CommandGetSystemBootOptions, s.handler(s.getBootOption))
	closeSession := handlers.NewRegistry()
	handlers.RegisterSessionHandlers(closeSession)
	end := types.CommandCloseSession
	r.RegisterFunc(end, func(ctx context.Context, h *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
		data, code, err := closeSession.Dispatch(ctx, h, uint8(end.NetFn), end.ID, req)
		e := s.event(h, SessionClosed)
		e.Code = byte(code)
		s.cfg.OnWire(e)
		return data, code, err
	})
	return r
}

// handle serves one request: it fills in the event, and returns the answer or the backend's error.
type handle func(ctx context.Context, e *Event, req []byte) ([]byte, error)

type handler = func(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error)

// handler runs a handle under the server's rules: calls are bounded and end with Close, errors become completion codes or
// silence, and every request is reported.
func (s *Server) handler(do handle) handler {
	return func(_ context.Context, h *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
		if !s.enter() {
			return nil, types.CodeNodeBusy, nil
		}
		defer s.calls.Done()
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.CallTimeout)
		defer cancel()

		e := s.event(h, "")
		data, err := do(ctx, &e, req)
		code := codeOf(err)
		if silent(err) {
			e.Lost = true
			if h.Session != nil {
				s.wire.loseNext(h.Session.GetAddr())
			}
		} else {
			e.Code = byte(code)
		}
		s.cfg.OnWire(e)
		return data, code, nil
	}
}

func (s *Server) event(h *handlers.HandlerContext, what What) Event {
	e := Event{BMC: s.cfg.BMC, What: what}
	if h.Session != nil {
		e.Suite = suiteOf(h.Session.AuthAlg)
	}
	if h.User != nil {
		e.User = h.User.Name
	}
	return e
}

// silent reports whether a BMC in this state does not answer: the answer is lost, or the BMC hangs.
func silent(err error) bool {
	switch lifecycle.KindOf(err) {
	case lifecycle.Unknown, lifecycle.Timeout, lifecycle.Canceled:
		return true
	}
	return false
}

// codeOf gives the completion code (IPMI v2.0, table 5-2) for a backend's error.
func codeOf(err error) types.CompletionCode {
	var code types.CompletionCode
	if errors.As(err, &code) {
		return code
	}
	switch lifecycle.KindOf(err) {
	case "":
		return types.CodeOK
	case lifecycle.Invalid:
		return types.CodeRequestDataFieldInvalid
	case lifecycle.Precondition, lifecycle.Conflict:
		return types.CodeNotSupported // 0xd5: "not supported in present state"
	case lifecycle.Unauthenticated, lifecycle.Denied:
		return types.CodeInsufficientPrivilege
	case lifecycle.NotFound:
		return types.CodeRequestedDataNotPresent
	case lifecycle.Unavailable:
		return types.CodeNodeBusy
	}
	return types.CodeUnspecifiedError
}

// status answers Get Chassis Status (IPMI v2.0 §28.2).
func (s *Server) status(ctx context.Context, e *Event, _ []byte) ([]byte, error) {
	e.What = StatusRead
	state, err := s.cfg.Backend.State(ctx, s.cfg.BMC)
	if err != nil {
		return nil, err
	}
	return (&chassis.GetChassisStatusResponse{PowerIsOn: state == power.On}).Pack(), nil
}

// control answers Chassis Control (IPMI v2.0 §28.3).
func (s *Server) control(ctx context.Context, e *Event, req []byte) ([]byte, error) {
	e.What = Commanded
	var c chassis.ChassisControlRequest
	if err := c.Unpack(req); err != nil {
		return nil, types.CodeRequestDataTruncated
	}
	action, ok := actions[c.ChassisControl]
	if !ok {
		return nil, types.CodeRequestDataFieldInvalid
	}
	e.Action = action
	s.mu.Lock()
	s.flags.commanded()
	s.mu.Unlock()
	return nil, s.cfg.Backend.Do(ctx, s.cfg.BMC, action)
}
