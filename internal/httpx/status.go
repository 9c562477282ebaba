package httpx

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ncnkit/lifecycle"
)

// StatusError is the cause of an error for which the service itself, or a gateway before it, answered.
type StatusError struct {
	Request string // method and URL, without query and user information
	Status  int
	Detail  string // the service's own words: RFC 9457 detail or title, or a short text; secrets cut out
	Problem bool   // the answer was application/problem+json, so the service itself spoke
}

// Error gives the request, the status and the service's words.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: %d %s", e.Request, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Kind returns the kind for an HTTP status, as in the table of [Client.Do]; it knows nothing of methods.
func Kind(status int) lifecycle.Kind {
	switch status {
	case http.StatusUnauthorized:
		return lifecycle.Unauthenticated
	case http.StatusForbidden:
		return lifecycle.Denied
	case http.StatusNotFound, http.StatusGone:
		return lifecycle.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusLocked:
		return lifecycle.Conflict
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return lifecycle.Unavailable
	}
	switch {
	case status >= 500:
		return lifecycle.Unavailable
	case status >= 300:
		return lifecycle.Invalid
	}
	return lifecycle.Internal
}

// refused turns an answer that is no success into an error.
func (c *Client) refused(r Request, resp Response, token lifecycle.Secret) error {
	se := &StatusError{Request: c.describe(r), Status: resp.Status}
	se.Detail, se.Problem = words(resp)
	secrets := append([]lifecycle.Secret{token}, r.Secrets...)
	if pw, ok := c.base.User.Password(); ok {
		secrets = append(secrets, lifecycle.NewSecret(pw))
	}
	se.Detail = clean(se.Detail, secrets)
	kind := Kind(resp.Status)
	if !r.safe() && gateway(resp.Status) && !se.Problem {
		kind = lifecycle.Unknown // something in between lost sight of the request
	}
	return lifecycle.Errorf(kind, "", "", "%w: %s", se, c.advice(kind, resp.Status))
}

func gateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

func (c *Client) advice(kind lifecycle.Kind, status int) string {
	switch {
	case status >= 300 && status < 400:
		return "it is not followed; configure the URL of the service itself"
	case kind == lifecycle.Unauthenticated:
		return "check the client and its secret"
	case kind == lifecycle.Denied:
		return "ask for the right to do this, or use another client"
	case kind == lifecycle.Unknown:
		return "look at what is there before sending it again"
	case kind == lifecycle.Unavailable:
		return "look at the log of " + c.cfg.Service + " and try again"
	case kind == lifecycle.NotFound:
		return "check the name, and that the URL leads to " + c.cfg.Service
	}
	return "correct the request"
}

// words returns what the service says about a failure: RFC 9457, OAuth 2.0 (RFC 6749 section 5.2), or a short text.
func words(resp Response) (detail string, problem bool) {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch media {
	case "application/problem+json", "application/json":
		var p struct {
			Title       string `json:"title"`
			Detail      string `json:"detail"`
			Error       any    `json:"error"`
			Description string `json:"error_description"`
		}
		if json.Unmarshal(resp.Body, &p) != nil {
			return "", false
		}
		detail = p.Detail
		if detail == "" {
			detail = p.Title
		}
		if s, ok := p.Error.(string); ok && detail == "" {
			detail = strings.TrimSuffix(s+": "+p.Description, ": ")
		}
		return detail, media == "application/problem+json"
	case "text/plain":
		return string(resp.Body), false
	}
	return "", false
}

// clean cuts secrets out of s before it is shortened, so that no half of one is left, and makes it one printable line.
func clean(s string, secrets []lifecycle.Secret) string {
	for _, secret := range secrets {
		if !secret.IsZero() {
			s = strings.ReplaceAll(s, secret.Reveal(), secret.String())
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
