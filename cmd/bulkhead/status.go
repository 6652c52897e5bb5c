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
		Short: "Print the status of the host on this machine, with the reason if it is not ready",
		Long: `Print the status of the host on this machine: its checks, each with the problem
found, the policy in force, the entries that the directory leaves out, and the clusters
that answer. The command reads a file that the host keeps in its data directory, so
it also works while no user can sign in. Run it as the user that the host runs as.

/readyz reports the same checks publicly, without the problems.

Exit code 1 if no host runs, if it no longer writes its status, or if it is not
ready.`,
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
			return &runError{fmt.Errorf("no host runs with %s: %s contains no status file", *file, loaded.Data)}
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
			return &runError{fmt.Errorf("the status is %s old: the host (process %d) no longer runs, or hangs", age.Round(time.Second), s.PID)}
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
	row("policy", fmt.Sprintf("revision %d of %s, %s, since %s", p.Revision, p.Origin, p.Digest, p.Since.Format(time.RFC3339)))
	for _, x := range s.Problems {
		row("directory leaves out", x.String())
	}
	for _, x := range s.Sources {
		row("directory cluster", fmt.Sprintf("%s: %d entries%s", x.Cluster, x.Objects, after(": ", x.Problem)))
	}
	for _, x := range s.Clusters {
		state := "ready"
		if !x.Ready {
			state = "not ready"
		}
		row("cluster", x.Name+": "+state+after(": ", x.Detail))
	}
	return w.Flush()
}

// after returns front and text, or "" if text is empty.
func after(front, text string) string {
	if text == "" {
		return ""
	}
	return front + text
}
