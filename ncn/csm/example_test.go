package csm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/ncn/csm"
)

func ExampleNewInventory() {
	var inv lifecycle.Inventory = inventory("["+entry("x3000c0s7b0n0", "Worker", "ncn-w001")+"]", nil)
	node, err := inv.Node(context.Background(), "ncn-w001")
	fmt.Println(node.Name, node.Role, node.XName, node.BMC, err)
	_, err = inv.Node(context.Background(), "ncn-w00")
	fmt.Println(lifecycle.KindOf(err))
	// Output:
	// ncn-w001 worker x3000c0s7b0n0 ncn-w001-mgmt <nil>
	// not found
}

func ExampleNewTokens() {
	tokens := csm.NewTokens(csm.TokensConfig{
		Gateway:     "https://gw.test",
		HTTP:        over((&keycloak{expiry: "300", secret: "s"}).serve),
		Credentials: &creds{cred: lifecycle.Credential{Username: "admin-client", Password: lifecycle.NewSecret("s")}},
		Name:        "admin-client",
	})
	token, err := tokens.Token(context.Background(), false)
	fmt.Println(token, err)
	// Output: [redacted] <nil>
}

func ExampleNewCredentialsFile() {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("credentials-%d.json", os.Getpid()))
	defer os.Remove(path)
	_ = os.WriteFile(path, []byte(`{"bmc/x3000c0s7b0":{"username":"root","password":"secret"}}`), 0o600)
	cred, err := csm.NewCredentialsFile(path).Credential(context.Background(), "bmc/x3000c0s7b0")
	fmt.Println(cred.Username, cred.Password, err)
	// Output: root [redacted] <nil>
}
