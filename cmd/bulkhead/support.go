package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/support"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func supportBundleCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "support-bundle", Args: cobra.NoArgs,
		Short: "Pack what a supporter needs into one archive, without secrets",
		Long: `Pack what a supporter needs into one archive: version, configuration, what doctor
finds, the status of the host and of its plugins, the end of its log, metrics, and a
list of the data directory. It works also if the host does not run or does not start.

There are no secrets in it: what plugins get as their configuration is left out, of the
environment there are names alone, and what the files of secrets contain is replaced
wherever it appears. It names users, clusters and addresses: look through it before you
pass it on. Run it as the user that the host runs as.`,
		Example: "  bulkhead support-bundle\n  bulkhead support-bundle -o - | tar tz",
	}
	file := configFlag(c)
	to := c.Flags().StringP("output", "o", "", `the archive; "-" is standard output (default bulkhead-support-TIME.tar.gz)`)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		loaded, err := server.Load(*file, os.Environ())
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if *to == "" {
			*to = "bulkhead-support-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
		}
		report := func(part string) { fmt.Fprintln(c.ErrOrStderr(), "adding", part) }
		if *to == "-" {
			if err := support.Write(c.Context(), out, loaded, report); err != nil {
				return &runError{err}
			}
			return nil
		}
		if err := written(*to, func(w io.Writer) error { return support.Write(c.Context(), w, loaded, report) }); err != nil {
			return &runError{err}
		}
		fmt.Fprintln(out, *to)
		return nil
	}
	return c
}

// written makes a file that must not exist yet and that other users cannot read; if it
// cannot be written whole, nothing is left of it.
func written(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}
