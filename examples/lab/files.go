package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"sigs.k8s.io/yaml"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/examples/site"
)

// What is in the directory.
const (
	siteFile        = "site.yaml"
	credentialsFile = "credentials.json"
	keyFile         = "id_ed25519"
	knownHostsFile  = "known_hosts"
	wireFile        = "wire.jsonl"
	journalDir      = "journal"
	backupsDir      = "backups"
)

// files is what programs must know of the lab.
type files struct {
	gateway string
	key     ssh.PublicKey
	ssh     map[string]string // node -> address
	bmcs    map[string]string // node -> address
	secrets map[string]login  // by the name under which programs ask for them
}

// login is a credential as csm.CredentialsFile reads it.
type login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// random returns n random bytes in hex.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// openDir makes the directory, and refuses one that another lab serves.
func (l *Lab) openDir(ctx context.Context) error {
	dir, err := filepath.Abs(l.cfg.Dir)
	if err != nil {
		return lifecycle.Errorf(lifecycle.Invalid, "", "", "%q is no directory: %w", l.cfg.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unwritable(err)
	}
	l.dir = dir
	if gateway, ok := l.served(ctx); ok {
		return lifecycle.Errorf(lifecycle.Conflict, "", "", "another lab serves %s at %s: end it, or choose another directory", dir, gateway)
	}
	return nil
}

// served asks the gateway of the site file that is there whether it is a lab's of this directory.
func (l *Lab) served(ctx context.Context) (gateway string, ok bool) {
	text, err := os.ReadFile(l.SiteFile())
	if err != nil {
		return "", false
	}
	var f site.File
	if yaml.Unmarshal(text, &f) != nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Gateway+"/lab/", nil)
	if err != nil {
		return "", false
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	var about about
	err = json.NewDecoder(resp.Body).Decode(&about)
	return f.Gateway, err == nil && about.Dir == l.dir
}

// clientKey returns the key in the file, and makes a new one when there is none that can be used.
func clientKey(path string) (ssh.Signer, error) {
	if text, err := os.ReadFile(path); err == nil {
		if signer, err := ssh.ParsePrivateKey(text); err == nil {
			return signer, os.Chmod(path, 0o600)
		}
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "lab")
	if err != nil {
		return nil, err
	}
	if err := replace(path, pem.EncodeToMemory(block)); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// writeFiles writes the site file last: with it, the lab can be found.
func (l *Lab) writeFiles(f files) error {
	known, err := l.knownHosts(f.ssh)
	if err != nil {
		return err
	}
	credentials, err := json.MarshalIndent(f.secrets, "", "  ")
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(l.siteFile(f))
	if err != nil {
		return err
	}
	text = append([]byte("# A lab: a fake cluster on this machine. It is written anew whenever the lab starts.\n"), text...)
	return errors.Join(
		replace(filepath.Join(l.dir, knownHostsFile), known),
		replace(filepath.Join(l.dir, credentialsFile), append(credentials, '\n')),
		replace(l.SiteFile(), text),
	)
}

// siteFile leaves paths relative, so that the directory can be moved.
func (l *Lab) siteFile(f files) site.File {
	nodes := map[string]site.Node{}
	for _, n := range l.nodes {
		nodes[n.Name] = site.Node{Addr: f.ssh[n.Name], BMC: f.bmcs[n.Name]}
	}
	return site.File{
		Cluster:     "lab",
		Gateway:     f.gateway,
		Credentials: credentialsFile,
		SSH:         site.SSH{User: "root", Key: keyFile, KnownHosts: knownHostsFile},
		Backups:     backupsDir,
		Journal:     journalDir,
		Nodes:       nodes,
		Settle:      site.Duration{Duration: l.cfg.patience(10 * time.Second)},
		Poll:        site.Duration{Duration: l.cfg.patience(20 * time.Second)},
	}
}

// patience scales what a program waits. It stays between what keeps the lab from being flooded and a real site's 5 s.
func (c *Config) patience(d time.Duration) time.Duration {
	return min(max(c.scaled(d), 20*time.Millisecond), 5*time.Second)
}

// knownHosts lists the present host keys under the nodes' names and addresses, as ncn/sshrun looks them up.
func (l *Lab) knownHosts(addrs map[string]string) ([]byte, error) {
	var b bytes.Buffer
	for _, n := range l.nodes {
		signer, err := ssh.NewSignerFromKey(l.world.Machine(n.Name).HostKey())
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(addrs[n.Name])
		if err != nil {
			return nil, err
		}
		b.WriteString(knownhosts.Line([]string{net.JoinHostPort(n.Name, port), addrs[n.Name]}, signer.PublicKey()) + "\n")
	}
	return b.Bytes(), nil
}

// replace makes the file hold data, for its owner only, unless it does already. Who reads meanwhile sees the old file or
// the new one.
func replace(path string, data []byte) error {
	info, err := os.Lstat(path)
	if old, readErr := os.ReadFile(path); err == nil && readErr == nil && info.Mode() == 0o600 && bytes.Equal(old, data) {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return unwritable(err)
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return unwritable(errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}

func unwritable(err error) error {
	kind := lifecycle.Unavailable
	if errors.Is(err, fs.ErrPermission) {
		kind = lifecycle.Denied
	}
	return lifecycle.Errorf(kind, "", "", "choose a directory that can be written: %w", err)
}
