package csm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ncnkit/lifecycle"
)

// maxCredentials bounds the file; a site has some hundred BMCs.
const maxCredentials = 1 << 20

// CredentialsFile is a [lifecycle.Credentials] kept in a JSON file:
//
//	{"admin-client": {"username": "admin-client", "password": "…"}, "bmc/x3000c0s7b0": {"username": "root", "password": "…"}}
//
// The file must be a regular one that only its owner can read (mode 0600 or less). It is read anew for every question, so
// that a replaced file counts at once; replace it by renaming, not by writing into it. It is safe for concurrent use.
type CredentialsFile struct{ path string }

var _ lifecycle.Credentials = (*CredentialsFile)(nil)

// NewCredentialsFile returns the credentials in the file at path. It does no I/O.
func NewCredentialsFile(path string) *CredentialsFile { return &CredentialsFile{path} }

// Credential returns the credential of that name, or a NotFound error. A file that others can read is a Precondition
// error, one that cannot be opened Unavailable (NotFound or Denied where that is why), one of another form Invalid.
func (c *CredentialsFile) Credential(ctx context.Context, name string) (lifecycle.Credential, error) {
	cred, err := c.find(ctx, name)
	return cred, lifecycle.Wrap(err, "csm.CredentialsFile.Credential", "")
}

func (c *CredentialsFile) find(ctx context.Context, name string) (lifecycle.Credential, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Credential{}, err
	}
	b, err := c.read()
	if err != nil {
		return lifecycle.Credential{}, err
	}
	type entry struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	var entries map[string]*entry
	if err := json.Unmarshal(b, &entries); err != nil {
		return lifecycle.Credential{}, lifecycle.Errorf(lifecycle.Invalid, "", "",
			`%s is not of the form {"name":{"username":"…","password":"…"}} (%s): correct it`, c.path, place(err))
	}
	e := entries[name]
	if e == nil || e.Password == "" {
		return lifecycle.Credential{}, lifecycle.Errorf(lifecycle.NotFound, "", "", "%s has no password for %q: add it", c.path, name)
	}
	return lifecycle.Credential{Username: e.Username, Password: lifecycle.NewSecret(e.Password)}, nil
}

// place says where decoding failed. The decoder's own words would quote what is there.
func place(err error) string {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("at byte %d", syntax.Offset)
	case errors.As(err, &typ):
		return fmt.Sprintf("at byte %d", typ.Offset)
	}
	return "it ends too early"
}

func (c *CredentialsFile) read() ([]byte, error) {
	// Looked at before it is opened, because opening a pipe waits; and again after, because it may be another by then.
	info, err := os.Stat(c.path)
	if err == nil {
		err = c.private(info)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	f, err := os.Open(c.path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		err = c.private(info)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(b) > maxCredentials {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "", "", "%s is larger than 1 MiB: it is no file of credentials", c.path)
	}
	return b, nil
}

func (c *CredentialsFile) private(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return lifecycle.Errorf(lifecycle.Precondition, "", "", "%s is no regular file", c.path)
	case info.Mode().Perm()&0o077 != 0:
		return lifecycle.Errorf(lifecycle.Precondition, "", "", "%s can be read by others (mode %#o): chmod 600, and change the secrets in it", c.path, info.Mode().Perm())
	}
	return nil
}

// unreadable gives an error of the file system a kind.
func unreadable(err error) error {
	var known *lifecycle.Error
	kind := lifecycle.Unavailable
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		kind = lifecycle.NotFound
	case errors.Is(err, fs.ErrPermission):
		kind = lifecycle.Denied
	}
	return lifecycle.Errorf(kind, "", "", "the credentials cannot be read: %w", err)
}
