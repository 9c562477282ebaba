package lifecycle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle"
)

func TestErrorUnwrapsToCauseAndKind(t *testing.T) {
	err := fmt.Errorf("outer: %w", lifecycle.Errorf(lifecycle.NotFound, "op", "ncn-w001", "missing: %w", io.EOF))
	require.ErrorIs(t, err, lifecycle.NotFound)
	require.ErrorIs(t, err, io.EOF)
	var e *lifecycle.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "op: ncn-w001: missing: EOF", e.Error())
	require.NoError(t, lifecycle.Wrap(nil, "op", ""))
}

func TestKindOf(t *testing.T) {
	for want, err := range map[lifecycle.Kind]error{
		"":                     nil,
		lifecycle.Invalid:      lifecycle.Invalid,
		lifecycle.Canceled:     context.Canceled,
		lifecycle.Timeout:      fmt.Errorf("x: %w", context.DeadlineExceeded),
		lifecycle.Internal:     io.EOF,
		lifecycle.Precondition: lifecycle.Wrap(lifecycle.Errorf(lifecycle.Precondition, "a", "", "b"), "c", "d"),
	} {
		require.Equal(t, want, lifecycle.KindOf(err))
	}
}

func TestHTTPStatus(t *testing.T) {
	for kind, want := range map[lifecycle.Kind]int{
		lifecycle.Invalid: 400, lifecycle.Unauthenticated: 401, lifecycle.Denied: 403, lifecycle.NotFound: 404,
		lifecycle.Conflict: 409, lifecycle.Precondition: 422, lifecycle.Unknown: 500, lifecycle.Unavailable: 500,
		lifecycle.Timeout: 500, lifecycle.Canceled: 500, lifecycle.Internal: 500,
	} {
		require.Equal(t, want, kind.HTTPStatus(), string(kind))
	}
}

// I13: no way of printing shows the value.
func TestSecretIsNeverShown(t *testing.T) {
	s := lifecycle.NewSecret("hunter2")
	c := lifecycle.Credential{Username: "root", Password: s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "c", c)
	text, err := json.Marshal(c)
	require.NoError(t, err)
	for _, shown := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", c, c, c),
		log.String(), string(text), errors.Join(fmt.Errorf("%v", s)).Error(),
	} {
		require.NotContains(t, shown, "hunter2")
		require.NotContains(t, shown, fmt.Sprintf("%x", "hunter2"))
	}
	require.Equal(t, "hunter2", s.Reveal())
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"ncn-w001", "a", "0", "nid001"} {
		require.NoError(t, lifecycle.CheckName(ok))
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", "a b", "ncn-w001; rm -rf /", "$(x)", "-oProxyCommand=x", "a\n", "é", string(bytes.Repeat([]byte("a"), 64))} {
		require.ErrorIs(t, lifecycle.CheckName(bad), lifecycle.Invalid, "%q", bad)
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("ncn-w001")
	f.Add("a\n")
	f.Fuzz(func(t *testing.T, name string) {
		if lifecycle.CheckName(name) != nil {
			return
		}
		for _, r := range name {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
				t.Fatalf("%q was accepted", name)
			}
		}
	})
}

func TestCommandCheck(t *testing.T) {
	ok := lifecycle.Command{Name: "x", Script: "true", Args: []string{"; rm -rf /", "$(x)", "é"}}
	require.NoError(t, ok.Check())
	for _, arg := range []string{"a\nb", "a\x00b"} {
		bad := ok
		bad.Args = []string{arg}
		require.ErrorIs(t, bad.Check(), lifecycle.Invalid)
	}
	require.ErrorIs(t, lifecycle.Command{Name: "x"}.Check(), lifecycle.Invalid)
}
