package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check, compare and reload the configuration, and list its keys"}
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
	c.AddCommand(check, show, diffConfigCommand(), reloadConfigCommand(), schemaCommand())
	group(c)
	return c
}

func diffConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "diff [OLD NEW]", Args: cobra.MatchAll(cobra.MaximumNArgs(2), func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return errors.New("give two files, or none to ask the host")
			}
			return nil
		}),
		Short: "Say in which keys two configurations differ, and which of them need a restart",
		Long: `Say in which keys two configurations differ, and which of them need a restart:
those of two files, or, without them, the one that a host runs and its file.

Files are read as the host reads them, with the environment. Paths are relative to
their file, so keep both in one directory. What plugins get as their own configuration
is not shown.
` + hostHelp,
		Example: "  bulkhead config diff\n  bulkhead config diff bulkhead.yaml next.yaml",
	}
	f, asJSON := connectionFlags(c), c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, files []string) error {
		var changes []config.Change
		if len(files) == 0 {
			report, err := f.reload(c, true)
			if err != nil {
				return err
			}
			changes = report.Changes
		} else {
			var both [2]*server.Config
			for i, file := range files {
				var err error
				if both[i], err = server.Load(file, os.Environ()); err != nil {
					return err
				}
			}
			changes = server.Difference(both[0], both[1])
		}
		if *asJSON {
			return printJSON(c.OutOrStdout(), changes)
		}
		printChanges(c.OutOrStdout(), changes)
		return nil
	}
	return c
}

func reloadConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "reload", Args: cobra.NoArgs,
		Short: "Have a host read its configuration file now, and say what changed",
		Long: `Have a host read its configuration file now, and say what changed. A host reads the
file by itself when it changes; this waits for the outcome. A file that cannot be used
changes nothing.
` + hostHelp,
	}
	f, asJSON := connectionFlags(c), c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		report, err := f.reload(c, false)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.OutOrStdout(), report)
		}
		fmt.Fprintln(c.OutOrStdout(), plain(string(report.Outcome)))
		printChanges(c.OutOrStdout(), report.Changes)
		for _, name := range slices.Sorted(maps.Keys(report.Plugins)) {
			fmt.Fprintf(c.OutOrStdout(), "plugin %s: %s\n", plain(name), plain(report.Plugins[name]))
		}
		return nil
	}
	return c
}

const hostHelp = foundHost + `
Exit codes: 0 done, 1 the host refused or does not answer, 2 bad usage or a file that
cannot be read.`

// reload asks the host to read its configuration file.
func (f connection) reload(c *cobra.Command, dry bool) (*config.Report, error) {
	client, err := f.open()
	if err != nil {
		return nil, err
	}
	path := "/api/admin/config/reload"
	if dry {
		path += "?dryRun=true"
	}
	var report config.Report
	if err := client.Do(c.Context(), http.MethodPost, path, nil, &report); err != nil {
		return nil, &runError{err}
	}
	return &report, nil
}

func printChanges(w io.Writer, changes []config.Change) {
	for _, x := range changes {
		line := plain(x.Path)
		if x.Old != "" || x.New != "" {
			line += ": " + plain(cmp.Or(x.Old, "none")) + " -> " + plain(cmp.Or(x.New, "none"))
		}
		if server.NeedsRestart(x.Path) {
			line += " (needs a restart)"
		}
		fmt.Fprintln(w, line)
	}
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
