package lab

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/backup/dirstore"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/fakes/fakehttp"
	"github.com/ncnkit/lifecycle/fakes/fakessh"
	"github.com/ncnkit/lifecycle/ncn"
	"github.com/ncnkit/lifecycle/power"
)

const loopback = "127.0.0.1:0"

// Config says what is served. Only Dir is required.
type Config struct {
	Dir string // where the files for programs are written; made with mode 0700 when it is not there

	// SLS and BSS are paths of a real site's dumps: the answers to GET …/search/hardware?extra_properties.Role=Management
	// and to GET /boot/v1/bootparameters. BSS needs SLS. Both may be empty.
	SLS, BSS string
	// Masters, Workers and Storage are how many nodes there are when there is no SLS; none at all means three of each.
	Masters, Workers, Storage int

	Speed float64      // how many times faster than real machines these are; 0 means 100, 1 is as slow as they are
	Log   *slog.Logger // told what happens to machines, and on Debug what is seen on the wire; nil means discard
}

// Lab is a running lab. It is safe for concurrent use. Close it.
type Lab struct {
	cfg     Config
	dir     string // absolute
	world   *fakes.Cluster
	nodes   []lifecycle.Node
	wire    *recorder
	journal *journal

	base     context.Context // ends with Close; waits inside the gateway are under it
	cancel   context.CancelFunc
	work     sync.WaitGroup // goroutines
	handlers sync.WaitGroup // requests at the gateway

	mu      sync.Mutex
	closed  bool
	closers []func() error // run from the last to the first
}

// Start makes a cluster, serves it on loopback, and writes the files by which programs find it. ctx bounds the start only;
// what was started runs until Close.
//
// Errors are of kind Invalid for a Config or dump that makes no cluster, Conflict when another lab serves Dir, Denied and
// Unavailable when the directory cannot be written or no port can be had.
func Start(ctx context.Context, cfg Config) (*Lab, error) {
	const op = "lab.Start"
	l := &Lab{cfg: cfg}
	l.base, l.cancel = context.WithCancel(context.Background())
	if err := l.start(ctx); err != nil {
		return nil, lifecycle.Wrap(errors.Join(err, l.Close()), op, "")
	}
	l.cfg.Log.Info("the lab is up", "site", l.SiteFile(), "nodes", len(l.nodes), "speed", l.cfg.Speed)
	return l, nil
}

func (l *Lab) start(ctx context.Context) error {
	if err := l.cfg.check(); err != nil {
		return err
	}
	if err := l.openDir(ctx); err != nil {
		return err
	}
	sls, err := l.makeWorld()
	if err != nil {
		return err
	}
	signer, err := clientKey(filepath.Join(l.dir, keyFile))
	if err != nil {
		return err
	}
	l.journal = openJournal(ctx, filepath.Join(l.dir, journalDir))
	l.world.Watch(l.journal, dirstore.New(dirstore.Config{Dir: filepath.Join(l.dir, backupsDir)}))
	if l.wire, err = newRecorder(filepath.Join(l.dir, wireFile), l.world, l.cfg.Log); err != nil {
		return err
	}
	l.closers = append(l.closers, l.wire.close, func() error { l.work.Wait(); return nil })
	f := files{key: signer.PublicKey(), secrets: map[string]login{}}
	for _, serve := range []func() error{
		func() error { return l.serveSSH(&f) },
		func() error { return l.serveBMCs(&f) },
		func() error { return l.serveHTTP(ctx, &f, sls) },
	} {
		if err := serve(); err != nil {
			return err
		}
	}
	for _, s := range f.secrets {
		l.world.Secret(s.Password)
	}
	if err := l.writeFiles(f); err != nil {
		return err
	}
	l.work.Go(l.tick)
	return nil
}

// Close ends everything that Start began, and waits for it. The files stay. A second Close does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers := l.closers
	l.closed, l.closers = true, nil
	l.mu.Unlock()
	l.cancel()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return lifecycle.Wrap(errors.Join(errs...), "lab.Close", "")
}

// SiteFile returns the path of the site file, which package site loads.
func (l *Lab) SiteFile() string { return filepath.Join(l.dir, siteFile) }

// WireFile returns the path of the record of what was seen on the wire, which [ReadWire] reads.
func (l *Lab) WireFile() string { return filepath.Join(l.dir, wireFile) }

// Cluster returns the world behind the lab, for tests in the same process.
func (l *Lab) Cluster() *fakes.Cluster { return l.world }

// Verdict returns the invariants that were broken up to now, by what the world saw, and by what the runs in Dir/journal and
// the backups in Dir/backups say. A node that is armed for a run in that journal that is open, or that asked for a person,
// is no breach. A run that cannot be read is one, of I14. What cannot be told on the wire is not judged: see
// [fakes.Cluster.Watch].
func (l *Lab) Verdict() []fakes.Breach {
	return append(l.journal.unreadable(context.Background()), l.world.Check()...)
}

// tick lets machines boot while nobody asks, and notes what became of them.
func (l *Lab) tick() {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		l.world.Advance()
		l.wire.look()
		select {
		case <-ticker.C:
		case <-l.base.Done():
			return
		}
	}
}

func (l *Lab) serveSSH(f *files) error {
	names := map[string]string{}
	for name, script := range ncn.Scripts() {
		names[script] = name
	}
	srv, err := fakessh.Serve(fakessh.Config{
		Cluster: l.world, Addr: loopback, AuthorizedKeys: []ssh.PublicKey{f.key}, Names: names, OnWire: l.wire.ssh,
	})
	if err != nil {
		return err
	}
	l.closers = append(l.closers, srv.Close)
	f.ssh = srv.Addrs()
	return nil
}

func (l *Lab) serveBMCs(f *files) error {
	f.bmcs = map[string]string{}
	for _, n := range l.nodes {
		cred := login{Username: "lab-" + random(4), Password: random(10)}
		srv, err := fakebmc.Serve(fakebmc.Config{
			Addr: loopback, BMC: power.BMC{Name: n.BMC}, Backend: l.world.Power(),
			Username: cred.Username, Password: lifecycle.NewSecret(cred.Password),
			OnWire: func(e fakebmc.Event) { l.wire.ipmi(n.Name, e) },
		})
		if err != nil {
			return err
		}
		l.closers = append(l.closers, srv.Close)
		f.bmcs[n.Name] = srv.Addr()
		f.secrets["bmc/"+n.BMC] = cred
	}
	return nil
}

func (l *Lab) serveHTTP(ctx context.Context, f *files, sls []byte) error {
	cred := login{Username: "admin-client", Password: random(16)}
	services := fakehttp.New(fakehttp.Config{
		Cluster: l.world, SLS: sls, OnWire: l.wire.http,
		ClientID: cred.Username, ClientSecret: lifecycle.NewSecret(cred.Password), RequireToken: true,
	})
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback)
	if err != nil {
		return lifecycle.Errorf(lifecycle.Unavailable, "", "", "listen on loopback: %w", err)
	}
	srv := &http.Server{
		Handler:           l.counted(l.gateway(services)),
		BaseContext:       func(net.Listener) context.Context { return l.base },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(l.cfg.Log.Handler(), slog.LevelDebug),
	}
	l.work.Go(func() { _ = srv.Serve(listener) })
	l.closers = append(l.closers, func() error {
		err := srv.Close()
		l.handlers.Wait()
		return err
	})
	f.gateway = "http://" + listener.Addr().String()
	f.secrets["token"] = cred
	return nil
}

// counted lets Close wait for requests that are being answered.
func (l *Lab) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		closed := l.closed
		if !closed {
			l.handlers.Add(1)
		}
		l.mu.Unlock()
		if closed {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer l.handlers.Done()
		next.ServeHTTP(w, r)
	})
}
