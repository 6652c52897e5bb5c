package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func configFlag(c *cobra.Command) *string {
	return c.Flags().StringP("config", "c", "bulkhead.yaml", "configuration file")
}

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the host until it is interrupted",
		Long: `Run the host until it is interrupted.

Every key of the configuration can also be given in the environment, as
BULKHEAD_ and the key's path in capitals: BULKHEAD_LISTEN, BULKHEAD_DIRECTORY_FILES.
The value is YAML. Paths in the file are relative to the file.

When the file changes, and on SIGHUP, it is read again: what is configured otherwise
than before is built and replaces what served, the rest goes on undisturbed. A file
that cannot be used changes nothing; the log, "bulkhead status" and /readyz say so.
Only listen, metrics, data and state need a restart.`,
		Args: cobra.NoArgs,
	}
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		loaded, err := server.Load(*file, os.Environ())
		if err != nil {
			return err
		}
		s, err := server.Open(c.Context(), loaded, loaded.Log.Logger(os.Stderr))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "bulkhead serves at %s\n", s.URL())
		defer reloadOnHangup(c.Context(), s)()
		if err := errors.Join(s.Serve(c.Context()), s.Close()); err != nil {
			return &runError{err}
		}
		return nil
	}
	return c
}

// reloadOnHangup has s read its configuration again on each SIGHUP, until stop.
func reloadOnHangup(ctx context.Context, s *server.Server) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-hangup:
				_, _ = s.Reload(ctx, false) // which logs what is wrong
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { signal.Stop(hangup); cancel(); <-done }
}

func versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version, and the commit that it was built from", Args: cobra.NoArgs}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *asJSON {
			return printJSON(c.OutOrStdout(), map[string]string{
				"version": server.Version(), "commit": server.Commit(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		fmt.Fprintf(c.OutOrStdout(), "%s%s\n", server.Version(), after(" commit ", server.Commit()))
		return nil
	}
	return c
}
