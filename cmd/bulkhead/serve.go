package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
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
Only listen, data and state need a restart.`,
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

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and print the configuration, and list its keys"}
	check := &cobra.Command{
		Use: "check", Args: cobra.NoArgs,
		Short: "Check that the configuration is well-formed, without opening what it names",
	}
	file := configFlag(check)
	check.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := server.Load(*file, os.Environ())
		if err != nil {
			return err
		}
		for _, name := range loaded.File.Ignored {
			fmt.Fprintln(c.ErrOrStderr(), name, "is not a key of the configuration and is ignored")
		}
		fmt.Fprintln(c.OutOrStdout(), *file, "is well-formed")
		return nil
	}
	show := &cobra.Command{
		Use: "print", Args: cobra.NoArgs,
		Short: "Print the configuration that the host would use, with environment and defaults",
	}
	shown := configFlag(show)
	show.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := server.Load(*shown, os.Environ())
		if err != nil {
			return err
		}
		text, err := loaded.YAML()
		if err == nil {
			_, err = c.OutOrStdout().Write(text)
		}
		return err
	}
	c.AddCommand(check, show, diffConfigCommand(), schemaCommand())
	group(c)
	return c
}

func diffConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "diff OLD NEW", Args: cobra.ExactArgs(2),
		Short: "Say in which keys two configuration files differ, and which of them need a restart",
		Long: `Say in which keys two configuration files differ, and which of them need a restart.
Both are read as the host reads them, with the environment. Paths are relative to their
file, so keep both in one directory. What plugins get as their own configuration is not
shown. A host that runs says the same of its file at
POST /api/admin/config/reload?dryRun=true.`,
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, files []string) error {
		var both [2]*server.Config
		for i, file := range files {
			var err error
			if both[i], err = server.Load(file, os.Environ()); err != nil {
				return err
			}
		}
		changes := server.Difference(both[0], both[1])
		if *asJSON {
			return printJSON(c.OutOrStdout(), changes)
		}
		for _, x := range changes {
			line := plain(x.Path)
			if x.Old != "" || x.New != "" {
				line += ": " + plain(cmp.Or(x.Old, "none")) + " -> " + plain(cmp.Or(x.New, "none"))
			}
			if server.NeedsRestart(x.Path) {
				line += " (needs a restart)"
			}
			fmt.Fprintln(c.OutOrStdout(), line)
		}
		return nil
	}
	return c
}

func schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "schema", Args: cobra.NoArgs,
		Short: "Print all keys of the configuration, as JSON Schema or as a reference in Markdown",
		Example: `  bulkhead config schema > bulkhead.schema.json
  # then, as the first line of bulkhead.yaml:
  # yaml-language-server: $schema=./bulkhead.schema.json`,
	}
	markdown := c.Flags().Bool("markdown", false, "print a reference in Markdown instead of JSON Schema")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *markdown {
			return config.Reference(c.OutOrStdout(), server.Schema)
		}
		_, err := c.OutOrStdout().Write(server.Schema)
		return err
	}
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), server.Version()) },
	}
}
