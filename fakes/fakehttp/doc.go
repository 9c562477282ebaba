// Package fakehttp serves the cluster of package fakes over HTTP: the boot script service (Cray-HPE/hms-bss and
// OpenCHAMI/bss), the system layout service (hms-sls), and the token endpoint of Keycloak, behind the paths of an API
// gateway or bare, as the services themselves serve them.
//
//	world := fakes.New(fakes.Layout{Masters: 3, Workers: 3, Storage: 3})
//	server := httptest.NewServer(fakehttp.New(fakehttp.Config{
//		Cluster:      world,
//		ClientSecret: lifecycle.NewSecret("s3cr3t"),
//		RequireToken: true,
//		OnWire:       func(e fakehttp.Event) { log.Print(e.Method, e.Path, e.Status) },
//	}))
//	svc := bss.New(bss.Config{URL: server.URL + "/apis/bss", HTTP: server.Client(), Tokens: tokens})
//	// GET {server}/apis/sls/v1/search/hardware?extra_properties.Role=Management
//	// POST {server}/keycloak/realms/shasta/protocol/openid-connect/token
//
// Answers follow exchanges that were recorded from the real services, and the tests replay all of them. Like the real BSS,
// this one loses updates: a PATCH reads, lets go of the lock, and stores; [Config.Race] says for how long. Faults that are
// armed on the cluster act here too: an answer that is lost, or a node that cannot be reached, is a connection that ends
// without an answer.
//
// What it does not imitate: HSM notifications (/boot/v1/scn is accepted and forgotten), the architecture entries of unknown
// hosts' discovery, Spire's join tokens (the variable stays in the command line), the folding of long lines in the YAML of
// user-data, signatures that an object store would accept, Keycloak's own keys (tokens are opaque) and SLS's networks.
//
// Where to look next: package fakes for the world behind it, and package bss for a client.
package fakehttp
