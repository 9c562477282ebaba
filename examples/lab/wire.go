package lab

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakebmc"
	"github.com/ncnkit/lifecycle/fakes/fakehttp"
	"github.com/ncnkit/lifecycle/fakes/fakessh"
)

// Face says where an [Event] was seen.
type Face string

// The faces.
const (
	SSH   Face = "ssh"
	HTTP  Face = "http"
	IPMI  Face = "ipmi"
	World Face = "world" // it was not on the wire: something became of a machine
)

// What the World does; what the other faces see is named by fakessh.EventType, fakebmc.What, and "request" for HTTP.
const (
	Booted    = "boot"      // the operating system is up on a new boot; each machine begins with one
	Installed = "installed" // the machine got a new operating system
	Down      = "down"      // the operating system does not answer any more
)

// Event is one line of wire.jsonl. Of the last four, that of the face is set. It is a plain value, without secrets.
//
// What is answered is written down with its answer, and what became of machines until then stands before it: at a high
// speed a machine may be seen down just before the command that turned it off.
type Event struct {
	Time time.Time `json:"time"` // when it was written down; events stand in that order
	Face Face      `json:"face"`
	Node string    `json:"node,omitempty"` // empty where no one node is meant
	What string    `json:"what"`

	SSH   *SSHDetail   `json:"ssh,omitempty"`
	HTTP  *HTTPDetail  `json:"http,omitempty"`
	IPMI  *IPMIDetail  `json:"ipmi,omitempty"`
	World *WorldDetail `json:"world,omitempty"`
}

// SSHDetail is what was seen of a connection or a command.
type SSHDetail struct {
	Remote string `json:"remote"` // address of the client

	User     string `json:"user,omitempty"`     // of a login
	Key      string `json:"key,omitempty"`      // of a login: fingerprint of the client's key
	Accepted bool   `json:"accepted,omitempty"` // of a login

	SHA256    string `json:"sha256,omitempty"`    // of the command's text, in hex
	FirstLine string `json:"firstLine,omitempty"` // of the command's text
	Command   string `json:"command,omitempty"`   // its name, where the text is known: "ncn.inspect"

	Exit *Exit `json:"exit,omitempty"` // of a command that ended
}

// Exit is how a command ended.
type Exit struct {
	Status int   `json:"status"` // -1 when the connection was cut before the exit status was sent
	In     int64 `json:"in"`     // bytes of standard input, output and error
	Out    int64 `json:"out"`
	Err    int64 `json:"err"`
}

// HTTPDetail is a request, after it was answered.
type HTTPDetail struct {
	Method string          `json:"method"`
	Path   string          `json:"path"` // with the query
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"` // of a write of boot parameters; what may be a secret is redacted
}

// IPMIDetail is what a BMC saw.
type IPMIDetail struct {
	BMC    string `json:"bmc"` // its xname
	User   string `json:"user,omitempty"`
	Suite  int    `json:"suite,omitempty"`  // cipher suite (IPMI v2.0, table 22-20)
	Action string `json:"action,omitempty"` // of a chassis command
	Param  int    `json:"param,omitempty"`  // of a boot option (IPMI v2.0, table 28-14)
	Data   string `json:"data,omitempty"`   // of a boot option, in hex
	Code   int    `json:"code"`             // completion code of the answer; 0 is success
	Lost   bool   `json:"lost,omitempty"`   // no answer was sent
}

// WorldDetail is how a machine stands.
type WorldDetail struct {
	Generation int    `json:"generation"` // 1 is how the lab begins; grows with each installation
	BootID     string `json:"bootID"`     // of the last boot
	Image      string `json:"image"`      // metal.server of the last boot
}

// ReadWire returns the events in a wire.jsonl, oldest first. A last line that is being written is left out. Errors are
// those of os.ReadFile, and Invalid for a file that is something else.
func ReadWire(path string) ([]Event, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var events []Event
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, lifecycle.Errorf(lifecycle.Invalid, "lab.ReadWire", "", "line %d of %s is no event: %w", len(events)+1, path, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// recorder writes wire.jsonl. The faces call it from many goroutines.
type recorder struct {
	world  *fakes.Cluster
	xnames map[string]string // xname -> node
	log    *slog.Logger

	mu   sync.Mutex
	file *os.File
	err  error // of the first write that failed
	seen map[string]sight
}

// sight is how a machine was seen last.
type sight struct {
	up         bool
	boot       string
	generation int
}

func newRecorder(path string, world *fakes.Cluster, log *slog.Logger) (*recorder, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, unwritable(err)
	}
	r := &recorder{world: world, xnames: map[string]string{}, log: log, file: file, seen: map[string]sight{}}
	for _, m := range world.Machines() {
		r.xnames[m.XName()] = m.Name()
	}
	return r, nil
}

func (r *recorder) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.err, r.file.Close())
	r.file = nil
	return err
}

// record writes an event down, after what became of machines until then.
func (r *recorder) record(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookAround()
	r.write(e)
}

// look writes down what became of machines.
func (r *recorder) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookAround()
}

func (r *recorder) lookAround() {
	for _, m := range r.world.Machines() {
		was := r.seen[m.Name()]
		is := sight{m.Up(), m.BootID(), m.Generation()}
		if is == was {
			continue
		}
		r.seen[m.Name()] = is
		detail := &WorldDetail{Generation: is.generation, BootID: is.boot, Image: imageOf(m)}
		tell := func(what string) { r.write(Event{Face: World, Node: m.Name(), What: what, World: detail}) }
		if was.up && (!is.up || is.boot != was.boot) {
			tell(Down)
		}
		if was.generation != 0 && is.generation != was.generation {
			tell(Installed)
		}
		if is.up && is.boot != was.boot {
			tell(Booted)
		}
	}
}

// imageOf returns metal.server of what the machine booted.
func imageOf(m *fakes.Machine) string {
	cmdline, _ := m.ReadFile("/proc/cmdline") // always there
	image := ""
	for _, word := range strings.Fields(string(cmdline)) {
		if v, ok := strings.CutPrefix(word, "metal.server="); ok {
			image = v
		}
	}
	return image
}

func (r *recorder) write(e Event) {
	if r.file == nil {
		return
	}
	e.Time = time.Now()
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.file.Write(append(line, '\n'))
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("what was seen on the wire is not all written down: %w", err)
		r.log.Error("see to the file system of the lab's directory", "error", r.err)
	}
	level := slog.LevelDebug
	if e.Face == World {
		level = slog.LevelInfo
	}
	r.log.Log(context.Background(), level, e.What, "face", string(e.Face), "node", e.Node, "event", json.RawMessage(line))
}

func (r *recorder) ssh(e fakessh.Event) {
	d := &SSHDetail{Remote: e.Remote, User: e.User, Key: e.Key, Accepted: e.Accepted, SHA256: e.Sum, FirstLine: e.FirstLine, Command: e.Name}
	if e.Type == fakessh.Exit {
		d.Exit = &Exit{Status: e.Status, In: e.In, Out: e.Out, Err: e.Err}
	}
	r.record(Event{Face: SSH, Node: e.Node, What: string(e.Type), SSH: d})
}

func (r *recorder) ipmi(node string, e fakebmc.Event) {
	r.record(Event{Face: IPMI, Node: node, What: string(e.What), IPMI: &IPMIDetail{
		BMC: e.BMC.Name, User: e.User, Suite: e.Suite, Action: string(e.Action), Param: e.Param, Data: hex.EncodeToString(e.Data),
		Code: int(e.Code), Lost: e.Lost,
	}})
}

func (r *recorder) http(e fakehttp.Event) {
	d := &HTTPDetail{Method: e.Method, Path: e.Path, Status: e.Status}
	u, err := url.ParseRequestURI(e.Path)
	if err != nil {
		u = &url.URL{}
	}
	host := u.Query().Get("name")
	if writesBSS(e.Method, u.Path) {
		d.Body = bodyOf(e.Body)
		var p struct{ Hosts []string }
		if json.Unmarshal(d.Body, &p) == nil && len(p.Hosts) == 1 {
			host = p.Hosts[0]
		}
	}
	r.record(Event{Face: HTTP, Node: r.xnames[host], What: "request", HTTP: d})
}

// bodyOf returns a body that is JSON as it is, and any other as a string.
func bodyOf(body string) json.RawMessage {
	if json.Valid([]byte(body)) {
		return json.RawMessage(body)
	}
	text, _ := json.Marshal(body) // of a string
	return text
}

// writesBSS reports whether a request may change boot parameters.
func writesBSS(method, path string) bool {
	return method != http.MethodGet && method != http.MethodHead && strings.HasPrefix(path, "/apis/bss/boot/v1/")
}
