package sshrun

import (
	"context"
	"errors"
	"os"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
)

// identity returns who we are. It asks anew each time, because keys rotate.
func (r *Runner) identity(ctx context.Context, p peer) (user string, signers []ssh.Signer, err error) {
	user, signers = r.cfg.User, append(signers, r.cfg.Signers...)
	if r.cfg.KeyFile != "" {
		pem, err := os.ReadFile(r.cfg.KeyFile)
		if err != nil {
			return "", nil, p.errorf(lifecycle.Invalid, "private key: %w", err)
		}
		signer, err := r.parseKey(pem)
		if err != nil {
			return "", nil, p.errorf(lifecycle.Invalid, "private key %s: %w", r.cfg.KeyFile, err)
		}
		signers = append(signers, signer)
	}
	if r.cfg.Credentials != nil {
		cred, err := r.cfg.Credentials.Credential(ctx, r.cfg.Credential)
		if err != nil {
			return "", nil, p.errorf(lifecycle.KindOf(err), "credential %q: %w", r.cfg.Credential, err)
		}
		signer, err := r.parseKey([]byte(cred.Password.Reveal()))
		if err != nil {
			return "", nil, p.errorf(lifecycle.Invalid, "credential %q: %w", r.cfg.Credential, err)
		}
		signers = append(signers, signer)
		if user == "" {
			user = cred.Username
		}
	}
	if len(signers) == 0 {
		return "", nil, p.errorf(lifecycle.Invalid, "no key to log in with: set Config.Signers, KeyFile or Credentials")
	}
	if user == "" {
		user = "root"
	}
	return user, signers, nil
}

// parseKey parses a private key. Its errors are its own: those of parsers may quote what they read.
func (r *Runner) parseKey(pem []byte) (ssh.Signer, error) {
	var signer ssh.Signer
	var err error
	if r.cfg.Passphrase.IsZero() {
		signer, err = ssh.ParsePrivateKey(pem)
	} else {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(r.cfg.Passphrase.Reveal()))
	}
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return nil, errors.New("the key is encrypted: set Config.Passphrase")
	case err != nil:
		return nil, errors.New("not a private key in PEM form, or another passphrase than Config.Passphrase")
	}
	return signer, nil
}
