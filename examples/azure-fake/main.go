// Azure-fake is an Azure for trying and testing Bulkhead: the Azure SDK's own fake servers
// behind a TLS listener, with a token endpoint, a small inventory, and faults on demand. All
// data is in memory, and all listeners are on loopback.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Ready is the output of the program, one line of JSON.
type Ready struct {
	Endpoint     string `json:"endpoint"`  // of Azure Resource Manager
	Authority    string `json:"authority"` // of the token endpoint
	CAFile       string `json:"caFile"`    // the authority of the listener's certificate
	Control      string `json:"control"`   // plain HTTP; see control.go
	Subscription string `json:"subscription"`
	Tenant       string `json:"tenant"`
	ClientID     string `json:"clientID"`
}

type options struct {
	listen, dir, secret string
	polls               int
	parent              bool
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address of Azure Resource Manager and the token endpoint")
	flag.StringVar(&o.dir, "dir", "", "directory for ca.pem and secret (default: a temporary directory, removed at the end)")
	flag.StringVar(&o.secret, "client-secret", "fake-secret", "the secret that the token endpoint accepts")
	flag.IntVar(&o.polls, "polls", 2, "how often an operation answers InProgress before it has succeeded")
	flag.BoolVar(&o.parent, "exit-with-parent", false, "end when standard input ends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if o.parent {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "azure-fake:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "azure-fake-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	} else if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	ca := filepath.Join(o.dir, "ca.pem")
	tlsConfig, err := certificate(ca)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "secret"), []byte(o.secret), 0o600); err != nil {
		return err
	}
	arm, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, arm.Close())
	}
	f := newFake("https://"+arm.Addr().String(), o)
	servers := []*http.Server{
		{Handler: f, TLSConfig: tlsConfig, ReadHeaderTimeout: 10 * time.Second},
		{Handler: f.control(), ReadHeaderTimeout: 10 * time.Second},
	}
	failed := make(chan error, 2)
	go func() { failed <- servers[0].ServeTLS(arm, "", "") }()
	go func() { failed <- servers[1].Serve(control) }()
	line, err := json.Marshal(Ready{
		Endpoint: f.url, Authority: f.url + "/", CAFile: ca, Control: "http://" + control.Addr().String(),
		Subscription: subscription, Tenant: tenant, ClientID: clientID,
	})
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\n", line)
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	return errors.Join(err, servers[0].Close(), servers[1].Close())
}
