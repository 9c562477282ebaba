// Package httpx is the plumbing that the HTTP adapters of this module share: it sends one JSON request to one service,
// with a token, a deadline, a cap on the answer, and an error of the right [lifecycle.Kind].
//
//	c := httpx.New(httpx.Config{Service: "BSS", URL: "https://gw/apis/bss", HTTP: client, Tokens: tokens})
//	var list []Entry
//	_, err := c.Do(ctx, httpx.Request{Method: "GET", Path: "/boot/v1/bootparameters", Query: q}, &list)
//
// What it decides, so that no adapter has to:
//
//   - Only what is safe to repeat is repeated: reads, requests marked Repeatable, and requests of which nothing was sent
//     or which were turned away with 429. A write whose answer is lost is [lifecycle.Unknown]; the caller looks.
//   - A 401 makes it ask once for a fresh token. Any other answer stands.
//   - Redirects are followed for reads only, and never to another host or from https to http.
//   - An answer that is not JSON is refused, because services behind gateways answer 200 for paths they do not know.
//   - No error carries a query, user information, a token, or the body of a successful answer.
//
// See [Client.Do] for the kinds, and [StatusError] for the service's own words.
package httpx
