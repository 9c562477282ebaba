package lifecycle

import "context"

// Credential is a name with its secret.
type Credential struct {
	Username string
	Password Secret
}

// Credentials hands out secrets by the name of what they open: "bmc/x3000c0s7b0", "token". They may rotate while a run
// is on, so adapters ask again when a secret is refused. Implementations are safe for concurrent use; an unknown name is
// a [NotFound] error.
type Credentials interface {
	Credential(ctx context.Context, name string) (Credential, error)
}

// TokenSource hands out bearer tokens. Token may return a remembered one that is still valid; with fresh set it must
// fetch a new one, because the far side has refused the last. Implementations are safe for concurrent use.
type TokenSource interface {
	Token(ctx context.Context, fresh bool) (Secret, error)
}
