package fakehttp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
)

// TokenPath is where a client gets its bearer token.
const TokenPath = "/keycloak/realms/shasta/protocol/openid-connect/token"

// Config says what is served. Only Cluster is needed.
type Config struct {
	Cluster *fakes.Cluster

	// Bare serves without the gateway's prefixes /apis/bss and /apis/sls: /boot/v1/…, /v1/….
	Bare bool

	// OpenCHAMI makes BSS answer as OpenCHAMI/bss where that differs from hms-bss.
	OpenCHAMI bool
	// Version is what BSS tells as its version; empty is an installation without a version file, which answers 500.
	Version string
	// S3 are the service's credentials for the object store; without them a boot script for s3:// images is refused.
	S3 *S3
	// Chain is where boot scripts continue, before /boot/v1; empty means https://api-gw-service-nmn.local/apis/bss.
	Chain string
	// Advertise is the cloud-init address in boot scripts; empty means http://10.92.100.81:8888.
	Advertise string
	// Race is called inside every PATCH between its read and its store, without any lock held. nil yields the processor.
	// It must be safe for concurrent use.
	Race func()

	// SLS is what the search for hardware finds, as SLS prints it; nil means the cluster's own nodes.
	SLS []byte

	// ClientID and ClientSecret get a token; an empty ClientID means admin-client. No secret, no token.
	ClientID     string
	ClientSecret lifecycle.Secret
	// TokenLife is how long a token is good for; 0 means 5 minutes.
	TokenLife time.Duration
	// RequireToken refuses requests under /apis/ without a token that is good.
	RequireToken bool

	// OnWire is told of every request after it was answered. It must be safe for concurrent use.
	OnWire func(Event)
}

// S3 is where the images are, as boot scripts name it. It is a plain value.
type S3 struct {
	Endpoint  string // "http://rgw-vip.nmn"
	AccessKey string
	Region    string // empty means "default"
}

// Event is one request as it was seen on the wire. It is a plain value.
type Event struct {
	Time   time.Time // when it came
	Method string
	Path   string // with the query
	Status int    // of the answer; 0 when the connection ended without one
	Body   string // of the request; what may be a secret is redacted
}

// New returns a handler that serves cfg, and does no I/O. It is safe for concurrent use. Without a Cluster, or with SLS
// data that are not what SLS prints, requests are answered 500 with the reason.
func New(cfg Config) http.Handler {
	cfg.Chain = cmp.Or(cfg.Chain, "https://api-gw-service-nmn.local/apis/bss")
	cfg.Advertise = cmp.Or(cfg.Advertise, "http://10.92.100.81:8888")
	cfg.ClientID = cmp.Or(cfg.ClientID, "admin-client")
	cfg.TokenLife = cmp.Or(cfg.TokenLife, 5*time.Minute)
	if cfg.Cluster == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			problem(w, http.StatusInternalServerError, "fakehttp.Config has no Cluster")
		})
	}
	s := &server{Config: cfg, store: cfg.Cluster.BootStore(), tokens: map[string]time.Time{}}
	mux := http.NewServeMux()
	mux.HandleFunc(TokenPath, s.token)
	if cfg.Bare {
		s.routeBSS(mux)
		s.routeSLS(mux)
	} else {
		bss, sls := http.NewServeMux(), http.NewServeMux()
		s.routeBSS(bss)
		s.routeSLS(sls)
		mux.Handle("/apis/bss/", s.authorized(http.StripPrefix("/apis/bss", bss)))
		mux.Handle("/apis/sls/", s.authorized(http.StripPrefix("/apis/sls", sls)))
		s.routeCloudInit(mux) // nodes reach it past the gateway
	}
	return s.seen(mux)
}

type server struct {
	Config
	store fakes.BootStore

	mu     sync.Mutex
	tokens map[string]time.Time // -> when it expires
	sls    []fakes.Hardware
	slsErr error
	slsSet bool
}

const maxBody = 16 << 20

// seen tells OnWire of every request.
func (s *server) seen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event := Event{Time: time.Now(), Method: r.Method, Path: r.URL.RequestURI()}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			problem(w, http.StatusBadRequest, "Bad Request: "+err.Error())
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		if s.OnWire != nil {
			event.Status, event.Body = answer.status, redact(r.Header.Get("Content-Type"), body)
			s.OnWire(event)
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// problem answers as the HMS services do for an error (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Status int    `json:"status"`
	}{"about:blank", http.StatusText(status), detail, status})
}

// notAllowed answers a method that a path does not have.
func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	problem(w, http.StatusMethodNotAllowed, "allow "+allow)
}

// refusal returns what the service itself said no to; nil is another error, or none.
func refusal(err error) *fakes.Refusal {
	var r *fakes.Refusal
	errors.As(err, &r)
	return r
}

// fault answers for an injected fault.
func fault(w http.ResponseWriter, err error) {
	switch kind := lifecycle.KindOf(err); kind {
	case lifecycle.Unknown, lifecycle.Canceled, lifecycle.Timeout:
		hangUp(w)
	case lifecycle.Unavailable:
		problem(w, http.StatusServiceUnavailable, err.Error())
	default:
		problem(w, kind.HTTPStatus(), err.Error())
	}
}

// hangUp ends the connection without an answer. Where HTTP/2 has no connection to end, the answer is 502.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_ = conn.Close()
}
