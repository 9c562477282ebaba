package fakessh_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log"
	"time"

	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/ncnkit/lifecycle/fakes/fakessh"
	"github.com/ncnkit/lifecycle/ncn/sshrun"
	"golang.org/x/crypto/ssh"
)

func ExampleServe() {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	us, err := ssh.NewSignerFromKey(private)
	if err != nil {
		log.Fatal(err)
	}
	world := fakes.New(fakes.Layout{Storage: 1})
	server, err := fakessh.Serve(fakessh.Config{Cluster: world, AuthorizedKeys: []ssh.PublicKey{us.PublicKey()}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = server.Close() }()

	host, err := ssh.NewPublicKey(world.Machine("ncn-s001").HostKey().Public())
	if err != nil {
		log.Fatal(err)
	}
	exec := sshrun.New(sshrun.Config{Signers: []ssh.Signer{us}})
	defer func() { _ = exec.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := exec.Run(ctx, lifecycle.Node{Name: "ncn-s001", Addr: server.Addrs()["ncn-s001"]}, lifecycle.Command{
		Name:     "disks",
		Script:   "lsblk --noheadings --list --paths --output NAME /dev/sda | sort -u",
		HostKeys: []string{string(ssh.MarshalAuthorizedKey(host))},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", result.Stdout)
	// Output:
	// /dev/md125
	// /dev/md126
	// /dev/md127
	// /dev/sda
	// /dev/sda1
	// /dev/sda2
	// /dev/sda3
}
