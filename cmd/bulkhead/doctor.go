package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/doctor"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

// indented is a text of several lines below the column of the levels.
func indented(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = plain(strings.ReplaceAll(lines[i], "\t", "  "))
	}
	return strings.Join(lines, "\n         ")
}

func doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Args: cobra.NoArgs,
		Short: "Examine what the host needs, and say what to do about what is wrong",
		Long: `Examine what the configuration names, and say what to do about what is wrong: kernel,
open files, data directory and disk, the state store, the host that runs, policy, directory, identity providers and
their clocks, clusters and what the host's account may do there, plugins and what they
are granted. It changes nothing, asks no question as a user, and can be run before the
host and beside it. Run it as the user that the host runs as.

Exit codes: 0 nothing is wrong, warnings apart; 1 there are problems; 2 bad usage, or
the configuration is not well-formed.`,
	}
	file, asJSON := configFlag(c), c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := server.Load(*file, os.Environ())
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		findings, problems := []doctor.Finding{}, 0
		doctor.Examine(c.Context(), loaded, func(f doctor.Finding) {
			findings = append(findings, f)
			if f.Level == doctor.Problem {
				problems++
			}
			if *asJSON {
				return
			}
			fmt.Fprintf(out, "%-8s %s: %s\n", f.Level, plain(f.Area), indented(f.Text))
			if f.Advice != "" {
				fmt.Fprintf(out, "         → %s\n", indented(f.Advice))
			}
		})
		if *asJSON {
			if err := printJSON(out, findings); err != nil {
				return err
			}
		}
		if problems == 1 {
			return &runError{errors.New("there is 1 problem")}
		} else if problems > 1 {
			return &runError{fmt.Errorf("there are %d problems", problems)}
		}
		return nil
	}
	return c
}
