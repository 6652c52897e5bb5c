package main

import (
	"fmt"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/scaffold"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

// authorCommands are the commands for those who write a plugin, in its directory.
func authorCommands() []*cobra.Command {
	return []*cobra.Command{newCommand(), sdkCommand()}
}

// pluginDir is the optional argument DIR.
func pluginDir(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func newCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write the directory of a new plugin",
		Long: `Write the directory of a new plugin: code, manifest, test, README, the configuration
of its development host, a role that permits the plugin, and a copy of the SDK. The
plugin builds without a network and without a clone of Bulkhead's repository; Go
plugins need Go alone.

Exit codes: 0 done, 1 the files cannot be written, 2 bad usage.`,
		Example: "  bulkhead plugin new hello\n  bulkhead plugin new hello --lang rust --dir ./plugins/hello",
		Args:    cobra.ExactArgs(1),
	}
	lang := c.Flags().String("lang", "go", strings.Join(scaffold.Languages(), ", "))
	dir := c.Flags().String("dir", "", "directory to write (default: NAME, here)")
	c.RunE = func(c *cobra.Command, args []string) error {
		written, err := scaffold.New(scaffold.Options{Name: args[0], Dir: *dir, Language: *lang, Version: server.Version()})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: a plugin in %s; see %s/README.md\n", args[0], *lang, written)
		return nil
	}
	return c
}

func sdkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sdk [DIR]",
		Short: "Replace a plugin's copy of the SDK by this program's",
		Long: `Replace DIR/` + scaffold.SDKDir + `, the copy of the SDK in the plugin's directory, by that of
this version of bulkhead.`,
		Example: "  bulkhead plugin sdk ./hello",
		Args:    cobra.MaximumNArgs(1),
	}
	c.RunE = func(_ *cobra.Command, args []string) error {
		return scaffold.UpdateSDK(pluginDir(args), server.Version())
	}
	return c
}
