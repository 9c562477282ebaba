package sshrun_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakessh"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"golang.org/x/crypto/ssh"
)

// exampleCluster serves a cluster of one worker that lets the returned key in.
func exampleCluster() (*fakes.Cluster, *fakessh.Server, ssh.Signer) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	us, err := ssh.NewSignerFromKey(private)
	if err != nil {
		log.Fatal(err)
	}
	world := fakes.New(fakes.Layout{Workers: 1})
	server, err := fakessh.Serve(fakessh.Config{Cluster: world, AuthorizedKeys: []ssh.PublicKey{us.PublicKey()}})
	if err != nil {
		log.Fatal(err)
	}
	return world, server, us
}

// announced is the host key that a node told over another channel, such as cloud-init's phone-home.
func announced(m *fakes.Machine) string {
	public, err := ssh.NewPublicKey(m.HostKey().Public())
	if err != nil {
		log.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(public))
}

func ExampleRunner_Run() {
	world, server, us := exampleCluster()
	defer func() { _ = server.Close() }()
	dir, err := os.MkdirTemp("", "sshrun")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	exec := sshrun.New(sshrun.Config{Signers: []ssh.Signer{us}, KnownHosts: filepath.Join(dir, "known_hosts")})
	defer func() { _ = exec.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	node := lifecycle.Node{Name: "ncn-w001", Addr: server.Addrs()["ncn-w001"]}
	greet := lifecycle.Command{
		Name:   "greet",
		Script: `IFS= read -r whom; printf '%s greets %s\n' "$(hostname)" "$whom"`,
		Args:   []string{"$(reboot); the operator"},
	}
	_, err = exec.Run(ctx, node, greet)
	fmt.Println("before its key is known:", lifecycle.KindOf(err))

	if err := exec.KeepHostKeys(ctx, node, []string{announced(world.Machine("ncn-w001"))}); err != nil {
		log.Fatal(err)
	}
	result, err := exec.Run(ctx, node, greet)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", result.Stdout)
	// Output:
	// before its key is known: denied
	// ncn-w001 greets $(reboot); the operator
}
