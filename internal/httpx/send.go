package httpx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/ncnkit/lifecycle"
)

const (
	defaultTimeout = 30 * time.Second
	maxRetries     = 4
	minWait        = 200 * time.Millisecond
	maxWait        = 5 * time.Second
)

var errTooLarge = errors.New("the answer is larger than any that the service should give")

// guarded returns a copy of hc that has a deadline and does not wander off. A write is not redirected at all: most
// redirects would turn it into a read that looks like a success.
func guarded(hc *http.Client, timeout time.Duration) *http.Client {
	if hc == nil {
		hc = &http.Client{}
	}
	own := *hc
	switch {
	case timeout > 0:
		own.Timeout = timeout
	case own.Timeout <= 0:
		own.Timeout = defaultTimeout
	}
	own.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		from := via[len(via)-1]
		read := from.Method == http.MethodGet || from.Method == http.MethodHead
		if !read || req.URL.Host != from.URL.Host || req.URL.Scheme != from.URL.Scheme || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		if hc.CheckRedirect != nil {
			return hc.CheckRedirect(req, via)
		}
		return nil
	}
	return &own
}

// Retryable returns a client over hc that logs nothing, backs off with jitter, at most 5 s at a time, and hands back the
// last answer when it gives up. Its CheckRetry is retryablehttp's own, which is right for reads only.
func Retryable(hc *http.Client) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient:   hc,
		RetryWaitMin: minWait,
		RetryWaitMax: maxWait,
		RetryMax:     maxRetries,
		CheckRetry:   retryablehttp.DefaultRetryPolicy,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// backoff bounds a Retry-After, which the far side chooses, by our own maximum.
func backoff(lo, hi time.Duration, attempt int, resp *http.Response) time.Duration {
	d := min(retryablehttp.DefaultBackoff(lo, hi, attempt, resp), hi)
	return d/2 + time.Duration(rand.Float64()*float64(d/2))
}

// send sends r once, or more often where that is safe, and returns the answer whatever its status.
func (c *Client) send(ctx context.Context, r Request, body []byte, contentType string, token lifecycle.Secret) (Response, error) {
	var seen attempt
	req, err := retryablehttp.NewRequestWithContext(seen.traced(ctx), r.Method, c.target(r), body)
	if err != nil {
		// The error would quote the URL.
		return Response{}, lifecycle.Errorf(lifecycle.Invalid, "", "", "%s is no possible request", c.describe(r))
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	var out Response
	req.SetResponseHandler(func(resp *http.Response) error {
		answer, err := c.read(resp)
		if err == nil { // half an answer must not pass for that of a later attempt
			out = answer
		}
		return err
	})
	rc := Retryable(c.http)
	rc.RequestLogHook = func(retryablehttp.Logger, *http.Request, int) { seen.reset() }
	rc.CheckRetry = seen.policy(r.safe())
	resp, err := rc.Do(req)
	if err == nil && out.Status == 0 {
		out, err = c.read(resp) // given up on: nobody has read the last answer
	}
	if err != nil {
		return Response{}, c.failed(ctx, r, &seen, err)
	}
	return out, nil
}

func (c *Client) target(r Request) string {
	u := c.base.JoinPath(r.Path)
	u.RawQuery = r.Query.Encode()
	return u.String()
}

// read takes the whole answer, up to the cap, and closes it.
func (c *Client) read(resp *http.Response) (Response, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.cfg.MaxBytes+1))
	if err == nil && int64(len(body)) > c.cfg.MaxBytes {
		err = errTooLarge
	}
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, err
}

// failed turns the lack of an answer into an error. The *url.Error is peeled off, because it quotes the query.
func (c *Client) failed(ctx context.Context, r Request, seen *attempt, err error) error {
	var ue *url.Error
	for errors.As(err, &ue) {
		err = ue.Err
	}
	switch {
	case !r.safe() && !seen.unsent(err):
		return lifecycle.Errorf(lifecycle.Unknown, "", "",
			"%s was sent and its answer lost (%w): look at what is there before sending it again", c.describe(r), err)
	case ctx.Err() != nil:
		return lifecycle.Errorf(lifecycle.KindOf(ctx.Err()), "", "", "stopped while waiting for the answer to %s: %w", c.describe(r), err)
	case errors.Is(err, errTooLarge):
		return lifecycle.Errorf(lifecycle.Invalid, "", "", "%s: %w: check that the URL leads to %s", c.describe(r), err, c.cfg.Service)
	}
	return lifecycle.Errorf(lifecycle.Unavailable, "", "", "%s: no answer (%w): check that %s is up and can be reached from here",
		c.describe(r), err, c.cfg.Service)
}

// attempt watches one attempt, to know whether anything of it can have reached the far side.
type attempt struct{ asked, got atomic.Bool }

func (a *attempt) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { a.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { a.got.Store(true) },
	})
}

func (a *attempt) reset() {
	a.asked.Store(false)
	a.got.Store(false)
}

// unsent reports whether certainly nothing was sent: a connection was asked for and not had. A transport that calls no
// trace hooks is believed only when it says that dialling failed.
func (a *attempt) unsent(err error) bool {
	if a.asked.Load() {
		return !a.got.Load()
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// policy decides whether to send again. What is not safe is repeated only when nothing was sent, or when the far side
// turned it away unread.
func (a *attempt) policy(safe bool) retryablehttp.CheckRetry {
	return func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		switch {
		case errors.Is(err, errTooLarge):
			return false, nil
		case safe || (err != nil && a.unsent(err)):
			return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
		case ctx.Err() != nil:
			return false, nil //nolint:nilerr // the answer, if there is one, still counts
		}
		return err == nil && resp.StatusCode == http.StatusTooManyRequests, nil
	}
}

// decode reads exactly one JSON value; numbers keep their text. An empty answer is fine when nobody wants one.
func decode(body []byte, out any) error {
	body = bytes.TrimSpace(body)
	if out == nil {
		if len(body) == 0 || json.Valid(body) {
			return nil
		}
		return errors.New("the body is not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(out); err != nil {
		return fmt.Errorf("the body is not the JSON that was expected: %s", jsonFault(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body goes on after its JSON value")
	}
	return nil
}

// jsonFault says where decoding failed without quoting what was there.
func jsonFault(err error) string {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("syntax, at byte %d", syntax.Offset)
	case errors.As(err, &typ):
		return fmt.Sprintf("type of %q, at byte %d", typ.Field, typ.Offset)
	case errors.Is(err, io.EOF):
		return "it is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return strings.TrimSpace(fmt.Sprintf("%T", err))
}
