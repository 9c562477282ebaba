package sshrun

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// KeepHostKeys implements [lifecycle.HostKeyKeeper]. It rewrites [Config.KnownHosts] so that keys are the only plain host
// keys of the node's name and address: lines of theirs go, hashed ones too, and what else the file says stays, including
// other names on a shared line and lines marked @cert-authority or @revoked. A wildcard that covers the node gets an
// exception for it. The file is replaced as a whole (written beside, synced, renamed) under a lock that other processes
// with this package respect. Connections to the node are not used for further commands.
//
// Errors are [lifecycle.Invalid] for keys or a file that cannot be read, [lifecycle.Denied] for a key that the file marks
// as revoked, [lifecycle.Timeout] or [lifecycle.Canceled] when ctx ends while the lock is held elsewhere; in all these
// cases the file is as it was.
func (r *Runner) KeepHostKeys(ctx context.Context, node lifecycle.Node, keys []string) error {
	p, err := r.peerOf("sshrun.KeepHostKeys", node)
	if err != nil {
		return err
	}
	parsed, err := parseKeys(p, keys)
	switch {
	case err != nil:
		return err
	case len(parsed) == 0:
		return p.errorf(lifecycle.Invalid, "no key is given; a node without a known key could not be reached any more")
	case r.cfg.KnownHosts == "":
		return p.errorf(lifecycle.Invalid, "there is no file to keep keys in: set Config.KnownHosts")
	}
	select {
	case r.keeping <- struct{}{}:
		defer func() { <-r.keeping }()
	case <-ctx.Done():
		return p.errorf(lifecycle.KindOf(ctx.Err()), "waiting for another KeepHostKeys: %w; the file is as it was", context.Cause(ctx))
	}
	if err := r.rewrite(ctx, p, parsed); err != nil {
		return err
	}
	t := r.target(p)
	r.mu.Lock()
	c := t.conn
	r.mu.Unlock()
	if c != nil {
		r.drop(t, c)
	}
	return nil
}

// rewrite replaces the file under its lock.
func (r *Runner) rewrite(ctx context.Context, p peer, keys []ssh.PublicKey) error {
	file, err := filepath.EvalSymlinks(r.cfg.KnownHosts)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = r.cfg.KnownHosts, nil
	}
	if err != nil {
		return p.errorf(lifecycle.Invalid, "known hosts: %w", err)
	}
	unlock, err := lockBeside(ctx, file)
	if err != nil {
		return p.errorf(lifecycle.KindOf(err), "%s.lock: %w; another process rewrites the file", file, err)
	}
	defer unlock()

	mode := fs.FileMode(0o600)
	old, err := os.ReadFile(file)
	if err == nil {
		if info, err := os.Stat(file); err == nil {
			mode = info.Mode().Perm()
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return p.errorf(lifecycle.Invalid, "known hosts: %w", err)
	}
	temp, err := writeBeside(file, replaceHost(old, p.lines(), keys), mode)
	if err != nil {
		return p.errorf(lifecycle.Internal, "known hosts: %w; the file is as it was", err)
	}
	defer func() { _ = os.Remove(temp) }() // fails after the rename
	if err := proveKept(temp, p, keys); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return p.errorf(lifecycle.Internal, "known hosts: %w; the file is as it was", err)
	}
	return syncDir(p, filepath.Dir(file))
}

// proveKept reads the new file as connections will, before it takes the old one's place.
func proveKept(file string, p peer, keys []ssh.PublicKey) error {
	known, err := knownhosts.New(file)
	if err != nil {
		return p.errorf(lifecycle.Invalid, "known hosts: %w; correct the file, it is as it was", err)
	}
	for _, name := range p.names() {
		for _, key := range keys {
			err := known(name, anywhere(), key)
			if errors.As(err, new(*knownhosts.RevokedError)) {
				return p.errorf(lifecycle.Denied, "%s: %w; the file is as it was", ssh.FingerprintSHA256(key), err)
			}
			if err != nil {
				return p.errorf(lifecycle.Internal, "known hosts: %w for %s after rewriting; the file is as it was", err, name)
			}
		}
	}
	return nil
}

func writeBeside(file string, text []byte, mode fs.FileMode) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".known_hosts-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func syncDir(p peer, dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return p.errorf(lifecycle.Unknown, "known hosts: %w; the file is replaced, but may not survive a power loss", err)
	}
	return nil
}

// lockBeside takes the lock of a file that is replaced by renaming, which therefore cannot carry the lock itself.
func lockBeside(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		locked, err := tryLock(f)
		if locked {
			return func() { _ = f.Close() }, nil
		}
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		if !pause(ctx, 20*time.Millisecond) {
			_ = f.Close()
			return nil, ctx.Err()
		}
	}
}

// replaceHost returns a known_hosts file in which keys are the only plain keys of names, which are in the file's own form
// ("host", "[host]:port").
func replaceHost(file []byte, names []string, keys []ssh.PublicKey) []byte {
	var out bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, len(file)+1)
	for lines.Scan() {
		line := lines.Text()
		if line, keep := withoutHosts(line, names); keep {
			out.WriteString(line + "\n")
		}
	}
	for _, key := range keys {
		fmt.Fprintf(&out, "%s %s %s\n", strings.Join(names, ","), key.Type(), base64.StdEncoding.EncodeToString(key.Marshal()))
	}
	return out.Bytes()
}

// withoutHosts returns the line without names, and whether anything of it is left.
func withoutHosts(line string, names []string) (string, bool) {
	text := strings.TrimLeft(line, " \t")
	if text == "" || text[0] == '#' || text[0] == '@' {
		return line, true
	}
	hosts, rest := text, ""
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		hosts, rest = text[:i], text[i:]
	}
	if hosts[0] == '|' {
		return line, !slices.ContainsFunc(names, func(name string) bool { return hashedMatch(hosts, name) })
	}
	patterns := strings.Split(hosts, ",")
	left := slices.DeleteFunc(slices.Clone(patterns), func(pattern string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return splitHost(pattern) == splitHost(name) })
	})
	if !slices.ContainsFunc(left, func(pattern string) bool { return pattern != "" && pattern[0] != '!' }) && len(left) < len(patterns) {
		return "", false
	}
	for _, name := range names {
		if patternsMatch(left, name) {
			left = append(left, "!"+name)
		}
	}
	if len(left) == len(patterns) && slices.Equal(left, patterns) {
		return line, true
	}
	return strings.Join(left, ",") + rest, true
}

// hostPort is a host with its port, as known_hosts patterns have it.
type hostPort struct{ host, port string }

func splitHost(pattern string) hostPort {
	host, port, err := net.SplitHostPort(pattern)
	if err != nil {
		return hostPort{pattern, "22"}
	}
	return hostPort{host, port}
}

// patternsMatch is sshd(8)'s rule: one pattern matches, and no negated one does.
func patternsMatch(patterns []string, name string) bool {
	matched := false
	for _, pattern := range patterns {
		positive, negated := strings.CutPrefix(pattern, "!")
		want, have := splitHost(positive), splitHost(name)
		if positive == "" || want.port != have.port || !wildcardMatch(want.host, have.host) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// wildcardMatch matches * and ?, without regard for separators. A later * makes an earlier one's choice final.
func wildcardMatch(pattern, s string) bool {
	rest, retry := "", ""
	starred := false
	for s != "" || pattern != "" {
		switch {
		case pattern != "" && pattern[0] == '*':
			pattern = pattern[1:]
			starred, rest, retry = true, pattern, s
		case pattern != "" && s != "" && (pattern[0] == '?' || pattern[0] == s[0]):
			pattern, s = pattern[1:], s[1:]
		case starred && retry != "":
			retry = retry[1:]
			pattern, s = rest, retry
		default:
			return false
		}
	}
	return true
}

// hashedMatch reports whether a hashed name (|1|salt|HMAC-SHA1) is name's.
func hashedMatch(hashed, name string) bool {
	parts := strings.Split(hashed, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(parts[3])
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}
