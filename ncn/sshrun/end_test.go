package sshrun_test

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle/ncn/sshrun"
)

// ended is a connection that tells its reader that it has ended, while its writers could go on.
type ended struct{ net.Conn }

func (ended) Read([]byte) (int, error) { return 0, io.EOF }

// When the reader learns that a connection has ended, its writers have learnt it: else a channel that is opened in between
// is never answered.
func TestWritersLearnOfTheEndFirst(t *testing.T) {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	conn := sshrun.OneEnd(ended{near})
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = conn.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}
