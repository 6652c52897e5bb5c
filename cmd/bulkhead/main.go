// Command bulkhead is the host and its tools in one binary. Run it with --help.
//
// Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration, 3 the
// consent of an administrator is missing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // authorities where the system has none, as in the image
)

func main() {
	sandbox.CompileChild()
	all.Child()
	policytool.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bulkhead:", err)
	if _, ok := errors.AsType[*runError](err); ok {
		os.Exit(1)
	}
	if _, ok := errors.AsType[*consentError](err); ok {
		os.Exit(3)
	}
	os.Exit(2)
}

// runError is a failure that is not an error of the command line or the configuration.
type runError struct{ error }

func (e *runError) Unwrap() error { return e.error }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "bulkhead",
		Short: "A WebAssembly policy-plugin host: the backend of a Kubernetes console",
		Long: `Bulkhead authenticates each request, asks a Rego policy whether to allow it, and
runs the feature as a sandboxed WebAssembly plugin that has only the capabilities
the operator granted. The plugin acts as the user, and a logout ends everything the
user has running.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), pluginCommand(), policyCommand(), directoryCommand(), configCommand(), statusCommand(), doctorCommand(), supportBundleCommand(), recordingCommand(), auditCommand(), loginCommand(), logoutCommand(), versionCommand())
	group(root)
	return root
}

// group makes a command that only has subcommands refuse an unknown one; without
// it, cobra would print the help and report success.
func group(c *cobra.Command) {
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}
