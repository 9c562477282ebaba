package httpx

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Config says how a service is reached.
type Config struct {
	Service  string                // what errors call it: "BSS"
	URL      string                // base URL, with any prefix: "https://api-gw-service-nmn.local/apis/bss"
	HTTP     *http.Client          // CA bundle, proxy, tracing; nil means a plain client
	Tokens   lifecycle.TokenSource // nil means that no token is sent
	Timeout  time.Duration         // of one attempt, body included; 0 means that of HTTP, or else 30 s
	MaxBytes int64                 // of an answer's body; 0 means 8 MiB
}

// Client sends requests to one service. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
	base *url.URL
	err  error // what is wrong with the configuration; the first use reports it
}

// New returns a client. It does no I/O; the first use reports a bad configuration as Invalid.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg}
	c.cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 8<<20)
	c.base, c.err = parseBase(cfg)
	c.http = guarded(cfg.HTTP, cfg.Timeout)
	return c
}

// parseBase never quotes the URL: it may hold a password.
func parseBase(cfg Config) (*url.URL, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "", "",
			"the URL of %s is missing or not of the form https://host[:port][/prefix]: correct the configuration", cfg.Service)
	}
	return u, nil
}

// Request is one request. Exactly one of JSON and Form may be set.
type Request struct {
	Method     string
	Path       string             // appended to the base URL; the caller escapes what varies
	Query      url.Values         // never quoted in errors
	JSON       any                // body, as JSON
	Form       url.Values         // body, as application/x-www-form-urlencoded
	Repeatable bool               // sending it twice does what sending it once does, and nobody cares
	Secrets    []lifecycle.Secret // what must be cut out of the service's own words, besides the token
}

// safe reports whether the request may be sent again without looking.
func (r Request) safe() bool {
	return r.Repeatable || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// Response is what came back with a 2xx status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends r and decodes the answer into out with [json.Decoder.UseNumber]; with a nil out the answer must be empty or
// JSON. Errors have no Op; the caller wraps them. Their kinds:
//
//   - Invalid: a bad configuration or request, 400, 405, 413, 415 and 422, a redirect, an answer that is not JSON;
//   - Unauthenticated 401, Denied 403, NotFound 404 and 410, Conflict 409, 412 and 423;
//   - Unavailable: 408, 429, 5xx, no connection; for a read also an answer that was cut or late;
//   - Unknown: a write was sent and its answer lost, or a gateway answered 502, 503 or 504 in the service's stead;
//   - Canceled and Timeout when ctx ended and nothing was changed.
//
// A [StatusError] is in the chain when the service answered.
func (c *Client) Do(ctx context.Context, r Request, out any) (Response, error) {
	if c.err != nil {
		return Response{}, c.err
	}
	if err := ctx.Err(); err != nil {
		return Response{}, lifecycle.Errorf(lifecycle.KindOf(err), "", "", "%s was not asked: %w", c.cfg.Service, err)
	}
	resp, token, err := c.authorized(ctx, r)
	if err != nil {
		return Response{}, err
	}
	if resp.Status < 200 || resp.Status > 299 {
		return Response{}, c.refused(r, resp, token)
	}
	if err := decode(resp.Body, out); err != nil {
		return Response{}, lifecycle.Errorf(lifecycle.Invalid, "", "",
			"%s answered %d, but not as %s does (%w): check that its URL leads to the service",
			c.describe(r), resp.Status, c.cfg.Service, err)
	}
	return resp, nil
}

// authorized sends r with a token, and once more with a fresh one when the first is refused: a request that got a 401
// has had no effect.
func (c *Client) authorized(ctx context.Context, r Request) (resp Response, token lifecycle.Secret, err error) {
	body, contentType, err := r.encode()
	if err != nil {
		return Response{}, token, err
	}
	for _, fresh := range []bool{false, true} {
		if c.cfg.Tokens != nil {
			if token, err = c.cfg.Tokens.Token(ctx, fresh); err != nil {
				return Response{}, token, err
			}
		}
		resp, err = c.send(ctx, r, body, contentType, token)
		if err != nil || resp.Status != http.StatusUnauthorized || c.cfg.Tokens == nil {
			break
		}
	}
	return resp, token, err
}

func (r Request) encode() (body []byte, contentType string, err error) {
	switch {
	case r.Form != nil:
		return []byte(r.Form.Encode()), "application/x-www-form-urlencoded", nil
	case r.JSON != nil:
		body, err = json.Marshal(r.JSON)
		if err != nil {
			err = lifecycle.Errorf(lifecycle.Invalid, "", "", "the request cannot be written as JSON: %w", err)
		}
		return body, "application/json", err
	}
	return nil, "", nil
}

// describe names a request without its query and without user information: either may hold a secret.
func (c *Client) describe(r Request) string {
	u := url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: c.base.JoinPath(r.Path).Path}
	return fmt.Sprintf("%s %s", r.Method, u.String())
}
