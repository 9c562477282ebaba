// Package site reads a site file, and makes of it the transports that ncn's verbs need. A program with its own
// configuration does the same with its own: everything here is a plain assembly of the library's parts.
//
//	s, err := site.Load("site.yaml")
//	defer s.Close()
//	err = ncn.Backup(ctx, s.NCN.Host("ncn-w001"))
package site

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup/dirstore"
	"github.com/ncnkit/lifecycle/bss"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/ncn/csm"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"github.com/ncnkit/lifecycle/power/ipmi"
)

// File is a site file. Relative paths in it are relative to it.
type File struct {
	Cluster     string          `json:"cluster"`     // shown before anything is changed
	Gateway     string          `json:"gateway"`     // base URL of the API gateway
	Credentials string          `json:"credentials"` // JSON file: name -> username and password; mode 0600
	SSH         SSH             `json:"ssh"`
	Backups     string          `json:"backups"` // directory
	Journal     string          `json:"journal"` // directory
	Nodes       map[string]Node `json:"nodes,omitempty"`
	Settle      Duration        `json:"settle,omitzero"` // how long a node stays off
	Poll        Duration        `json:"poll,omitzero"`   // how often a wait looks
}

// SSH says how nodes are reached.
type SSH struct {
	User       string `json:"user"`
	Key        string `json:"key"`        // private key file
	KnownHosts string `json:"knownHosts"` // known_hosts file
}

// Node overrides what the inventory says of one node's addresses.
type Node struct {
	Addr string `json:"addr,omitempty"` // for SSH
	BMC  string `json:"bmc,omitempty"`
}

// Duration is a time.Duration written as "300ms".
type Duration struct{ time.Duration }

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(text))
	return err
}

// Site is a site file's cluster, with its transports. Close it.
type Site struct {
	File    File
	NCN     *ncn.Site
	Journal *lifecycle.DirJournal

	exec *sshrun.Runner
}

// Load reads a site file and puts the site together. It connects to nothing.
func Load(path string) (*Site, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "site.Load", "", "name the site file with --site: %w", err)
	}
	var f File
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "site.Load", "", "%s: %w", path, err)
	}
	if err := f.check(); err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "site.Load", "", "%s: %w", path, err)
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&f.Credentials, &f.SSH.Key, &f.SSH.KnownHosts, &f.Backups, &f.Journal} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return f.assemble(), nil
}

func (f *File) check() error {
	for name, value := range map[string]string{
		"cluster": f.Cluster, "gateway": f.Gateway, "credentials": f.Credentials, "ssh.key": f.SSH.Key,
		"ssh.knownHosts": f.SSH.KnownHosts, "backups": f.Backups, "journal": f.Journal,
	} {
		if value == "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

func (f File) assemble() *Site {
	secrets := csm.NewCredentialsFile(f.Credentials)
	tokens := csm.NewTokens(csm.TokensConfig{Gateway: f.Gateway, Credentials: secrets, Name: "token"})
	nodes := map[string]csm.Override{}
	for name, n := range f.Nodes {
		nodes[name] = csm.Override{Addr: n.Addr, BMC: n.BMC}
	}
	exec := sshrun.New(sshrun.Config{User: cmp.Or(f.SSH.User, "root"), KeyFile: f.SSH.Key, KnownHosts: f.SSH.KnownHosts})
	journal := lifecycle.NewDirJournal(f.Journal)
	return &Site{
		File:    f,
		Journal: journal,
		exec:    exec,
		NCN: &ncn.Site{
			Inventory: csm.NewInventory(csm.Config{Gateway: f.Gateway, Tokens: tokens, Nodes: nodes}),
			Exec:      exec,
			Power:     ipmi.New(ipmi.Config{Credentials: secrets}),
			BSS:       bss.New(bss.Config{URL: f.Gateway + "/apis/bss", Tokens: tokens}),
			Backups:   dirstore.New(dirstore.Config{Dir: f.Backups}),
			Audit:     journal,
			Settle:    f.Settle.Duration,
			Poll:      f.Poll.Duration,
		},
	}
}

// Close ends what the site keeps open.
func (s *Site) Close() error { return errors.Join(s.exec.Close()) }
