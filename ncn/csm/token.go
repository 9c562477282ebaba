package csm

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/internal/httpx"
)

// tokenMargin is how long before its end a token is no longer handed out, so that a request does not outlive it.
const tokenMargin = 30 * time.Second

// TokensConfig says where tokens come from.
type TokensConfig struct {
	Gateway     string                // base URL of the API gateway: "https://api-gw-service-nmn.local"
	HTTP        *http.Client          // CA bundle, proxy, tracing; nil means a plain client
	Credentials lifecycle.Credentials // asked for Name whenever a token is fetched, so that the secret may rotate
	Name        string                // of the credential: user name is the client's ID ("admin-client" when empty), password its secret
	Timeout     time.Duration         // of one attempt at a request; 0 means that of HTTP, or else 30 s
}

// Tokens is the [lifecycle.TokenSource] of the site's Keycloak: a client_credentials grant (RFC 6749 section 4.4) at
// {gateway}/keycloak/realms/shasta/protocol/openid-connect/token. A token is kept until 30 s before its end, by expires_in.
//
// It is safe for concurrent use; callers that come while a token is being fetched wait for that one.
type Tokens struct {
	cfg  TokensConfig
	http *httpx.Client

	turn chan struct{} // held while a token is fetched

	mu      sync.Mutex
	token   lifecycle.Secret
	until   time.Time
	fetched int // counts tokens
}

var _ lifecycle.TokenSource = (*Tokens)(nil)

// NewTokens returns the source. It does no I/O; the first use reports a bad config as Invalid.
func NewTokens(cfg TokensConfig) *Tokens {
	return &Tokens{
		cfg: cfg,
		http: httpx.New(httpx.Config{Service: "Keycloak", URL: under(cfg.Gateway, "/keycloak"), HTTP: cfg.HTTP,
			Timeout: cfg.Timeout, MaxBytes: 1 << 20}),
		turn: make(chan struct{}, 1),
	}
}

// Token returns a token that is good for at least 30 s, by its own account; with fresh set, one that arrived after the
// call began. Its errors are Invalid, Unauthenticated (wrong client or secret), Denied, Unavailable, Canceled and Timeout,
// and those of the credentials.
func (t *Tokens) Token(ctx context.Context, fresh bool) (lifecycle.Secret, error) {
	token, err := t.get(ctx, fresh)
	return token, lifecycle.Wrap(err, "csm.Tokens.Token", "")
}

func (t *Tokens) get(ctx context.Context, fresh bool) (lifecycle.Secret, error) {
	token, count := t.kept()
	if !fresh && !token.IsZero() {
		return token, nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return lifecycle.Secret{}, lifecycle.Errorf(lifecycle.KindOf(ctx.Err()), "", "", "stopped while waiting for a token: %w", ctx.Err())
	}
	token, now := t.kept()
	if !token.IsZero() && (!fresh || now != count) { // somebody fetched one while we waited
		return token, nil
	}
	return t.fetch(ctx)
}

// kept returns the token that is still good, if any, and how many there were.
func (t *Tokens) kept() (lifecycle.Secret, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !time.Now().Before(t.until) {
		return lifecycle.Secret{}, t.fetched
	}
	return t.token, t.fetched
}

func (t *Tokens) fetch(ctx context.Context) (lifecycle.Secret, error) {
	var none lifecycle.Secret
	if t.cfg.Credentials == nil || t.cfg.Name == "" {
		return none, lifecycle.Errorf(lifecycle.Invalid, "", "", "credentials and the name of one are needed to fetch a token: correct the configuration")
	}
	cred, err := t.cfg.Credentials.Credential(ctx, t.cfg.Name)
	if err != nil {
		return none, err
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	start := time.Now() // the lifetime counts from here at the latest
	_, err = t.http.Do(ctx, httpx.Request{
		Method: http.MethodPost,
		Path:   "/realms/shasta/protocol/openid-connect/token",
		Form: url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {cmp.Or(cred.Username, "admin-client")},
			"client_secret": {cred.Password.Reveal()},
		},
		Repeatable: true, // a second token does no harm
		Secrets:    []lifecycle.Secret{cred.Password},
	}, &answer)
	if err != nil {
		return none, err
	}
	if answer.AccessToken == "" {
		return none, lifecycle.Errorf(lifecycle.Unavailable, "", "", "Keycloak answered without a token: look at its log")
	}
	token := lifecycle.NewSecret(answer.AccessToken)
	// Beyond a day, a lifetime is nothing that we would rely on.
	life := time.Duration(min(max(answer.ExpiresIn, 0), 24*60*60)) * time.Second
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.until = token, start.Add(life-tokenMargin)
	t.fetched++
	return token, nil
}
