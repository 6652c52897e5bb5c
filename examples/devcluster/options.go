package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

const usage = `devcluster runs a Kubernetes control plane in one process: etcd, kube-apiserver (RBAC, audit log),
kube-controller-manager, kube-scheduler, and two nodes played by kwok. It needs no Docker and no root, listens on
loopback only and downloads nothing.

  devcluster --data ./dev --kubeconfig ./dev.kubeconfig

It prints progress on stderr and, when the cluster can be used, one line on stdout:

  {"ready":true,"kubeconfig":"…","hostKubeconfig":"…","auditLog":"…","server":"https://127.0.0.1:PORT"}

It then runs until Ctrl-C, SIGTERM or, with --exit-with-parent, the end of its standard input. With kubectl alone:

  export KUBECONFIG=$PWD/dev.kubeconfig
  kubectl get pods -A
  kubectl exec -n shop -it deploy/web -- sh          a local shell, in the pod's directory below --data
  kubectl logs -n shop deploy/web --tail 5 -f
  kubectl port-forward -n shop deploy/web 9000:80    a small HTTP responder answers
  kubectl get deploy -A --as ann --as-group bulkhead:role:viewer

The namespaces shop and bank hold a few workloads, and the kinds of Argo CD and Flux are defined. --kubeconfig is the
cluster administrator, --host-kubeconfig a ServiceAccount that may impersonate users and groups and nothing else.

Nothing is isolated: exec runs commands on this machine as the user who started devcluster.

Flags:
`

// options is the command line, resolved once and not changed afterwards.
type options struct {
	data           string
	temporary      bool // data is ours to remove
	kubeconfig     string
	hostKubeconfig string
	listen         string
	wait           string
	timeout        time.Duration
	exitWithParent bool
	quiet          bool
}

// usageError is a mistake of the caller or a resource that another process holds; nothing was started.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("devcluster", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed by the caller, in one line
	fs.StringVar(&o.data, "data", "", "`directory` for all state; reused by the next start (default: a temporary one, removed at exit)")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` to write the administrator's kubeconfig to (default: DATA/kubeconfig)")
	fs.StringVar(&o.hostKubeconfig, "host-kubeconfig", "", "`file` to write the Bulkhead host's kubeconfig to (default: DATA/host.kubeconfig)")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` of the API server; port 0 chooses a free one")
	fs.StringVar(&o.wait, "wait", "pods", "when it is ready: `pods` run and exec works, or as soon as the \"api\" serves")
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "give up when it is not ready after this time")
	fs.BoolVar(&o.exitWithParent, "exit-with-parent", false, "end when standard input ends; give it a pipe that the parent holds open")
	fs.BoolVar(&o.quiet, "quiet", false, "no progress on stderr")
	fs.Usage = func() {
		fs.SetOutput(stderr)
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	switch err := parseFlags(fs, args); {
	case err != nil:
		return o, err
	case fs.NArg() > 0:
		return o, usagef("unexpected argument %q (see --help)", fs.Arg(0))
	case o.wait != "pods" && o.wait != "api":
		return o, usagef("--wait %q: want pods or api", o.wait)
	case o.timeout <= 0:
		return o, usagef("--timeout %v: want more than zero", o.timeout)
	}
	return o, o.resolve()
}

// parseFlags shows the usage for --help only; a mistake is one line.
func parseFlags(fs *flag.FlagSet, args []string) error {
	show := fs.Usage
	fs.Usage = func() {}
	err := fs.Parse(args)
	if err == flag.ErrHelp {
		show()
		return err
	}
	if err != nil {
		return usagef("%w (see --help)", err)
	}
	return nil
}

func (o *options) resolve() error {
	if err := loopback(o.listen); err != nil {
		return usagef("--listen %q: %w", o.listen, err)
	}
	if err := o.resolveData(); err != nil {
		return usagef("--data: %w", err)
	}
	for file, name := range map[*string]string{&o.kubeconfig: "kubeconfig", &o.hostKubeconfig: "host.kubeconfig"} {
		if *file == "" {
			*file = filepath.Join(o.data, name)
		}
		absolute, err := filepath.Abs(*file)
		if err != nil {
			return err
		}
		*file = absolute
	}
	return nil
}

func (o *options) resolveData() (err error) {
	if o.data == "" {
		o.temporary = true
		o.data, err = os.MkdirTemp("", "devcluster-")
		return err
	}
	if o.data, err = filepath.Abs(o.data); err != nil {
		return err
	}
	return os.MkdirAll(o.data, 0o700)
}

// loopback refuses to offer an administrator's API, and a shell behind it, to the network.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || ip.To4() == nil || !ip.IsLoopback() {
		return fmt.Errorf("want an IPv4 loopback address such as 127.0.0.1:0")
	}
	return nil
}
