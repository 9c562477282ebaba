package fakehttp

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// token is Keycloak's token endpoint for the client-credentials grant (RFC 6749, sections 4.4 and 5).
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if err := r.ParseForm(); err != nil {
		oauthError(w, http.StatusBadRequest, "invalid_request", "the form cannot be parsed")
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	want := s.ClientSecret.Reveal()
	switch grant := r.PostForm.Get("grant_type"); {
	case grant == "":
		oauthError(w, http.StatusBadRequest, "invalid_request", "Missing form parameter: grant_type")
	case id != s.ClientID:
		oauthError(w, http.StatusUnauthorized, "invalid_client", "Invalid client or Invalid client credentials")
	case want == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(want)) != 1:
		oauthError(w, http.StatusUnauthorized, "unauthorized_client", "Invalid client or Invalid client credentials")
	case grant != "client_credentials":
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
	default:
		s.grant(w)
	}
}

func (s *server) grant(w http.ResponseWriter) {
	token := rand.Text() + "." + rand.Text() + "." + rand.Text()
	s.mu.Lock()
	s.tokens[token] = time.Now().Add(s.TokenLife)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": token, "expires_in": int(s.TokenLife.Seconds()), "refresh_expires_in": 0, "token_type": "Bearer",
		"not-before-policy": 0, "scope": "email profile",
	})
}

func oauthError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
}

// authorized is the gateway's check of the bearer token (RFC 6750, section 3).
func (s *server) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.RequireToken {
			if why := s.refuse(r); why != "" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+r.Host+`"`)
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(why))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) refuse(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "Jwt is missing"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	expires, ok := s.tokens[token]
	switch {
	case !ok:
		return "Jwt verification fails"
	case !time.Now().Before(expires):
		return "Jwt is expired"
	}
	return ""
}
