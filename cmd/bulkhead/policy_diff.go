package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/spf13/cobra"
)

func policyDiffCommand() *cobra.Command {
	var f policyFlags
	var log, dir string
	c := &cobra.Command{
		Use:   "diff OLD NEW --log decisions.jsonl",
		Short: "Replay recorded decisions against another policy or directory and list what would change",
		Long: `Replay the decisions of a decision log with the policies OLD and NEW, and list what
would change. Each policy is a directory or a bundle file. "shipped" means the
shipped rules; "log", as OLD, means the decisions as they were recorded. The log is
JSON lines or arrays, gzipped or not, also of several files in sequence; - is
standard input. A record has at most 4 MiB.

By default the recorded permissions are used, so that only the policy differs. With
--directory, or --config for its directory.files, permissions are matched again with
these users, teams and roles, for NEW, and for OLD unless OLD is "log". To see what
a change of the directory changes, compare "log" with the policy that decided. A
policy that reads data.directory needs one of the two flags.

Exit codes: 0 nothing would change; 1 something would change, no decision could be
replayed, or a policy is invalid; 2 bad usage, or the log cannot be read.`,
		Example: `  bulkhead policy diff log ./policies-next --log decisions.jsonl
  bulkhead policy diff log ./policies --log decisions.jsonl --directory ./directory-next
  cat decisions.jsonl.1 decisions.jsonl | bulkhead policy diff ./policies ./policies-next --log -`,
		Args: cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().StringVarP(&log, "log", "l", "", "decision log to replay; - is standard input (required)")
	c.Flags().StringVarP(&dir, "directory", "d", "", "directory of users, teams and roles for matching permissions again")
	c.Flags().StringVarP(&f.config, "config", "c", "", "the host's configuration file, for its directory")
	_ = c.MarkFlagRequired("log")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		var before *authz.Policy
		if args[0] != "log" {
			if before, err = named(c.Context(), args[0]); err != nil {
				return err
			}
		}
		after, err := named(c.Context(), args[1])
		if err != nil {
			return err
		}
		var over *policytool.Over
		if dir != "" || f.config != "" {
			d, path, err := openDirectory(c.Context(), dir, f.config)
			if err != nil {
				return err
			}
			defer d.Close()
			over = &policytool.Over{Directory: d, Name: path}
		}
		in, err := openInput(c, log)
		if err != nil {
			return err
		}
		defer in.Close()
		report, err := policytool.Diff(c.Context(), before, after, over, in)
		if err != nil {
			return err
		}
		if f.json {
			err = printJSON(c.OutOrStdout(), report)
		} else {
			printDiff(c.OutOrStdout(), report)
		}
		if err == nil && report.Changed > 0 {
			err = &runError{fmt.Errorf("%d decisions would change", report.Changed)}
		}
		if err == nil && report.Decisions == report.Masked {
			err = &runError{fmt.Errorf("%s: none of its decisions could be replayed, so nothing was compared", log)}
		}
		return err
	}
	return c
}

// named compiles a policy of diff's arguments.
func named(ctx context.Context, policy string) (*authz.Policy, error) {
	if policy == "shipped" {
		p, err := authz.ReadPolicy(ctx, "")
		return p, atFault(err)
	}
	return readPolicy(ctx, policy)
}

func printDiff(out io.Writer, r *policytool.DiffReport) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, d := range r.Changes {
		what := d.Action
		if d.Capability != "" {
			what += ", " + d.Capability
		}
		fmt.Fprintf(w, "%s\t%d ×\t%s\t%s\t%s → %s\n", d.What, d.Count, plain(d.User), plain(what), plain(d.Old), plain(d.New))
	}
	w.Flush()
	fmt.Fprintf(out, "%d decisions, %d different questions: %d decisions would change\n", r.Decisions, r.Questions, r.Changed)
	if r.Directory == "" {
		fmt.Fprintln(out, "permissions: as recorded")
	} else {
		fmt.Fprintf(out, "permissions: matched again with %s\n", r.Directory)
	}
	if r.Untold > 0 {
		fmt.Fprintf(out, "not listed: %d further changes\n", r.Untold)
	}
	var left []string
	if r.Masked > 0 {
		left = append(left, fmt.Sprintf("%d decisions with masked values", r.Masked))
	}
	if r.Other > 0 {
		left = append(left, fmt.Sprintf("%d records that are not decisions of Bulkhead", r.Other))
	}
	if len(left) > 0 {
		fmt.Fprintf(out, "not replayed: %s\n", strings.Join(slices.Compact(left), ", "))
	}
}
