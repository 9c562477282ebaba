package bss

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/httpx"
)

// Config says how the boot script service is reached.
type Config struct {
	URL     string                // base URL with any prefix, before /boot/v1: "https://api-gw-service-nmn.local/apis/bss"
	HTTP    *http.Client          // CA bundle, proxy, tracing; nil means a plain client
	Tokens  lifecycle.TokenSource // nil means that no token is sent
	Timeout time.Duration         // of one attempt at a request; 0 means that of HTTP, or else 30 s
}

// Client is the [API] over HTTP, for Cray-HPE/hms-bss and OpenCHAMI/bss. It is a [Locker], so that the updates of one
// process go one after the other; share one Client. It is safe for concurrent use.
//
// The kinds of its errors: Unauthenticated 401 (after one fresh token), Denied 403, NotFound 404, Conflict for 400
// "Already exists", Invalid for other 4xx and for an answer that is not the service's (for a path that it does not know it
// answers 200 "Hello World!"), Unavailable for 5xx and when there is no answer, Unknown for a write whose answer was lost.
// Reads are repeated a few times before they fail; a write only when certainly none of it was sent.
type Client struct {
	HostLocks
	http *httpx.Client
}

var (
	_ API    = (*Client)(nil)
	_ Locker = (*Client)(nil)
)

// New returns a client. It does no I/O; its first use reports a bad Config as Invalid.
func New(cfg Config) *Client {
	return &Client{http: httpx.New(httpx.Config{
		Service: "BSS", URL: cfg.URL, HTTP: cfg.HTTP, Tokens: cfg.Tokens, Timeout: cfg.Timeout, MaxBytes: 8 << 20,
	})}
}

// label keeps what is no name out of the head of an error line.
func label(host string) string {
	if CheckHost(host) != nil {
		return ""
	}
	return host
}

const parameters = "/boot/v1/bootparameters"

// Get returns the entry of host, or a NotFound error (GET /boot/v1/bootparameters?name=).
func (c *Client) Get(ctx context.Context, host string) (Entry, error) {
	e, err := c.get(ctx, host)
	return e, lifecycle.Wrap(err, "bss.Get", label(host))
}

func (c *Client) get(ctx context.Context, host string) (Entry, error) {
	if err := CheckHost(host); err != nil {
		return Entry{}, err
	}
	var entries []Entry
	r := httpx.Request{Method: http.MethodGet, Path: parameters, Query: url.Values{"name": {host}}}
	if _, err := c.http.Do(ctx, r, &entries); err != nil {
		return Entry{}, err
	}
	// The answer may be null, and an answer for somebody else must never be edited.
	for _, e := range entries {
		if slices.ContainsFunc(e.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
			return e, nil
		}
	}
	return Entry{}, lifecycle.Errorf(lifecycle.NotFound, "", "", "BSS has no entry for it: check the xname")
}

// Patch changes parts of the entry of p.Host, or returns a NotFound error (PATCH /boot/v1/bootparameters). It is sent once.
func (c *Client) Patch(ctx context.Context, p Patch) error {
	return lifecycle.Wrap(c.patch(ctx, p), "bss.Patch", label(p.Host))
}

func (c *Client) patch(ctx context.Context, p Patch) error {
	if err := CheckHost(p.Host); err != nil {
		return err
	}
	body := struct {
		Hosts     []string        `json:"hosts"`
		Params    string          `json:"params,omitempty"`
		Kernel    string          `json:"kernel,omitempty"`
		Initrd    string          `json:"initrd,omitempty"`
		CloudInit json.RawMessage `json:"cloud-init,omitempty"`
	}{[]string{p.Host}, p.Params, p.Kernel, p.Initrd, p.CloudInit}
	_, err := c.http.Do(ctx, httpx.Request{Method: http.MethodPatch, Path: parameters, JSON: body}, nil)
	return err
}

// Put creates or replaces a whole entry (PUT /boot/v1/bootparameters; POST is refused for Global by OpenCHAMI). It is sent
// once. The service gives the entry a new referral token, which running BOS sessions notice: prefer [Update].
func (c *Client) Put(ctx context.Context, e Entry) error {
	host := ""
	if len(e.Hosts) > 0 {
		host = e.Hosts[0]
	}
	return lifecycle.Wrap(c.put(ctx, e), "bss.Put", label(host))
}

func (c *Client) put(ctx context.Context, e Entry) error {
	// The service answers 200 to an entry without hosts, and stores nothing.
	if len(e.Hosts) != 1 {
		return lifecycle.Errorf(lifecycle.Invalid, "", "", "an entry is put for exactly one host; got %d", len(e.Hosts))
	}
	if err := CheckHost(e.Hosts[0]); err != nil {
		return err
	}
	_, err := c.http.Do(ctx, httpx.Request{Method: http.MethodPut, Path: parameters, JSON: e}, nil)
	var status *httpx.StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest && strings.Contains(status.Detail, "Already exists") {
		return lifecycle.Errorf(lifecycle.Conflict, "", "", "%w", err)
	}
	return err
}

// LastFetch returns when host last fetched the endpoint, in Unix seconds; 0 is never (GET /boot/v1/endpoint-history).
func (c *Client) LastFetch(ctx context.Context, host, endpoint string) (int64, error) {
	at, err := c.lastFetch(ctx, host, endpoint)
	return at, lifecycle.Wrap(err, "bss.LastFetch", label(host))
}

func (c *Client) lastFetch(ctx context.Context, host, endpoint string) (int64, error) {
	if err := CheckHost(host); err != nil {
		return 0, err
	}
	// For another endpoint the service answers [], which would read as "never".
	if endpoint != BootScript && endpoint != UserData {
		return 0, lifecycle.Errorf(lifecycle.Invalid, "", "", "%q is not recorded by BSS: want %s or %s", endpoint, BootScript, UserData)
	}
	var history []struct {
		Name     string `json:"name"`
		Endpoint string `json:"endpoint"`
		Last     int64  `json:"last_epoch"`
	}
	r := httpx.Request{Method: http.MethodGet, Path: "/boot/v1/endpoint-history", Query: url.Values{"name": {host}, "endpoint": {endpoint}}}
	if _, err := c.http.Do(ctx, r, &history); err != nil {
		return 0, err
	}
	var last int64
	for _, h := range history {
		if strings.EqualFold(h.Name, host) && h.Endpoint == endpoint {
			last = max(last, h.Last)
		}
	}
	return last, nil
}
