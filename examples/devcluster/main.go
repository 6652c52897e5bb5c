// Command devcluster is a real Kubernetes control plane in one process, for developing and testing Bulkhead without
// Docker: etcd, kube-apiserver, kube-controller-manager and kube-scheduler from their Go modules, and kwok as the nodes.
// Pods are simulated, but exec, logs and port-forward work end to end through the API server. See README.md.
//
// Each package below internal owns one part. This package owns the order in which they start and stop, the command line, and
// the output for users: kubeconfigs, progress, the line with "ready".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // bad flags, a port or a data directory in use
)

// shutdownTimeout bounds a requested shutdown, whatever the components do.
const shutdownTimeout = 5 * time.Second

var (
	errInterrupted = errors.New("interrupted")
	errParentGone  = errors.New("standard input ended")
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return fail(stderr, err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	stopOnSignal(stop)
	if o.exitWithParent {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			stop(errParentGone)
		}()
	}
	c, err := newCluster(o, newProgress(stderr, o.quiet))
	if err != nil {
		return fail(stderr, err)
	}
	// Set before the first component starts, so that a component that hangs cannot keep the process from ending.
	context.AfterFunc(ctx, func() {
		time.AfterFunc(shutdownTimeout, func() {
			c.removeTemporary()
			os.Exit(exitFailure)
		})
	})
	defer c.stop()
	if err := c.start(ctx); err != nil {
		return c.failed(ctx, stderr, err)
	}
	if err := json.NewEncoder(stdout).Encode(c.ready()); err != nil {
		return fail(stderr, err)
	}
	if err := c.wait(ctx); err != nil {
		return c.failed(ctx, stderr, err)
	}
	return exitOK
}

// stopOnSignal requests a shutdown. Further signals have no effect: Ctrl-C reaches a whole process group, and a parent may
// forward a signal that the terminal has already sent. The shutdown is bounded anyway.
func stopOnSignal(stop context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		stop(errInterrupted)
	}()
}

// fail prints one line and chooses the exit code.
func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "devcluster: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}
