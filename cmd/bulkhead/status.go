package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how the host on this machine does, and why it is not ready",
		Long: `Say how the host on this machine does: its checks, each with what is wrong, which
policy serves, what the directory leaves out, which clusters answer. It reads a file
that the host keeps in its data directory, for the user that the host runs as, so
that it works also while nobody can sign in.

/readyz says the same to everybody, without reasons. Exit code 1 if no host runs,
it does not write its status any more, or it is not ready.`,
		Args: cobra.NoArgs,
	}
	file := configFlag(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := server.Load(*file, os.Environ())
		if err != nil {
			return err
		}
		s, err := server.ReadStatus(loaded)
		if errors.Is(err, fs.ErrNotExist) {
			return &runError{fmt.Errorf("no host runs with %s: there is no status in %s", *file, loaded.Data)}
		}
		if err != nil {
			return &runError{err}
		}
		if *asJSON {
			err = printJSON(c.OutOrStdout(), s)
		} else {
			err = printStatus(c.OutOrStdout(), s)
		}
		switch age := time.Since(s.At); {
		case err != nil:
			return err
		case age > server.Stale:
			return &runError{fmt.Errorf("the status is %s old: the host (process %d) does not run any more, or hangs", age.Round(time.Second), s.PID)}
		case !s.Ready():
			return &runError{errors.New("the host is not ready")}
		}
		return nil
	}
	return c
}

func printStatus(out io.Writer, s *server.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = plain(cells[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	row("host", fmt.Sprintf("version %s, process %d, since %s", s.Version, s.PID, s.Started.Format(time.RFC3339)))
	for _, list := range []struct {
		checks map[string]string
		word   string
	}{{s.Checks, "FAILING: "}, {s.Degraded, "degraded: "}} {
		for _, name := range slices.Sorted(maps.Keys(list.checks)) {
			why := list.checks[name]
			if why != "" {
				why = list.word + why
			}
			row(name, cmp.Or(why, "ok"))
		}
	}
	p := &s.Policy
	row("policy serves", fmt.Sprintf("revision %d of %s, %s, since %s", p.Revision, p.Origin, p.Digest, p.Since.Format(time.RFC3339)))
	for _, x := range s.Problems {
		row("directory leaves out", x.String())
	}
	for _, x := range s.Sources {
		row("directory cluster", fmt.Sprintf("%s: %d entries%s", x.Cluster, x.Objects, after(": ", x.Problem)))
	}
	for _, x := range s.Clusters {
		state := "ready"
		if !x.Ready {
			state = "away"
		}
		row("cluster", x.Name+": "+state+after(": ", x.Detail))
	}
	return w.Flush()
}

// after is text with something in front, or nothing.
func after(front, text string) string {
	if text == "" {
		return ""
	}
	return front + text
}
