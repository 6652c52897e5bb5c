package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/spf13/cobra"
)

func inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a plugin is, asks for and would be refused for, without running it",
		Long: `Say what a plugin is and asks for, and why the host would refuse it, without
running it. Whether it loads also depends on what the configuration grants.

Exit codes: 0 nothing here keeps it out, 1 it would be refused, 2 the file
cannot be read.`,
		Args: cobra.ExactArgs(1),
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		i, err := plugin.Inspect(args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			err = enc.Encode(i)
		} else {
			err = describe(c.OutOrStdout(), i)
		}
		if err == nil && len(i.Refused) > 0 {
			return &runError{errors.New(args[0] + " would be refused: " + strings.Join(i.Refused, "; "))}
		}
		return err
	}
	return c
}

// describe prints an inspection for people.
func describe(out io.Writer, i *plugin.Inspection) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("file", "%s, %d bytes", i.File, i.Bytes)
	row("digest", "%s", i.Digest)
	if m := i.Manifest; m != nil {
		row("plugin", "%s %s", m.Name, m.Version)
		if m.Description != "" {
			row("", "%s", m.Description)
		}
		for _, r := range m.Routes {
			row("route "+r.Name, "%s %s (%s), action %s", r.Method, r.Path, r.Kind, r.Action)
		}
		for _, c := range m.Capabilities {
			need := "needed"
			if c.Optional {
				need = "optional"
			}
			row("capability "+c.Name, "%s: %s", need, c.Reason)
		}
	}
	if m := i.Module; m != nil {
		row("imports", "%s", orNone(i.Imported))
		row("state", "%s", freshness(m.FreshBecause))
		row("size", "%d functions, %d instructions, %d bytes of data, %d KiB of memory at the start",
			m.Functions, m.Instructions, m.DataBytes, m.MemoryBytes>>10)
		row("rewritten", "%d bytes", m.RewrittenBytes)
	}
	for _, why := range i.Refused {
		row("REFUSED", "%s", why)
	}
	return w.Flush()
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "no capability"
	}
	return strings.Join(list, ", ")
}

func freshness(because []string) string {
	if len(because) == 0 {
		return "put back after each call to what its start left"
	}
	return "a new instance for each call, because of " + strings.Join(because, ", ")
}
