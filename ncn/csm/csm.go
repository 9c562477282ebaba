package csm

import (
	"net/http"
	"strings"
	"time"

	"github.com/ncnkit/lifecycle"
)

// Config says how the site's services are reached.
type Config struct {
	Gateway string                // base URL of the API gateway: "https://api-gw-service-nmn.local"
	HTTP    *http.Client          // CA bundle, proxy, tracing; nil means a plain client
	Tokens  lifecycle.TokenSource // nil means that no token is sent
	Timeout time.Duration         // of one attempt at a request; 0 means that of HTTP, or else 30 s
	Nodes   map[string]Override   // by node name, where an address is not what SLS implies; names that SLS lacks are ignored
}

// Override replaces addresses of one node; empty ones stay.
type Override struct {
	Addr string // for SSH, "host" or "host:port"
	BMC  string // "host" or "host:port"
}

// under returns the URL of a service behind the gateway. An empty gateway stays empty, so that it is refused at first use.
func under(gateway, path string) string {
	if gateway == "" {
		return ""
	}
	return strings.TrimRight(gateway, "/") + path
}
