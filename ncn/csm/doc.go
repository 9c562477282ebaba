// Package csm talks to the HTTP services of a Cray System Management site: the SLS inventory, and the tokens with which
// all of them are called.
//
//	creds := csm.NewCredentialsFile("/etc/lifecycle/credentials.json")
//	tokens := csm.NewTokens(csm.TokensConfig{Gateway: gw, HTTP: client, Credentials: creds, Name: "admin-client"})
//	inv := csm.NewInventory(csm.Config{Gateway: gw, HTTP: client, Tokens: tokens})
//
//	node, err := inv.Node(ctx, "ncn-w001") // {ncn-w001 worker x3000c0s7b0n0 ncn-w001-mgmt}
//
//	svc := bss.New(bss.Config{URL: gw + "/apis/bss", HTTP: client, Tokens: tokens})
//
// The HTTP client carries the site's CA bundle. Everything here implements an interface of the root package; another site
// replaces it piece by piece.
//
// Where to look next: [Inventory] for what counts as a node and what is refused, [Tokens] for when a token is renewed,
// [CredentialsFile] for the file's form.
package csm
