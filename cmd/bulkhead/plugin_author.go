package main

import (
	"fmt"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/dev"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/scaffold"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

// authorCommands are the commands for those who write a plugin, in its directory.
func authorCommands() []*cobra.Command {
	return []*cobra.Command{newCommand(), devCommand(), sdkCommand()}
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
		fmt.Fprintf(c.OutOrStdout(), "%s: a plugin in %s; next:\n  cd %s\n  bulkhead plugin dev\n", args[0], *lang, written)
		return nil
	}
	return c
}

func devCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dev [DIR]",
		Short: "Run a plugin in a host of its own, and rebuild it when a file is saved",
		Long: `Build the plugin in DIR and serve it on loopback, with the configuration in
DIR/` + devhost.ConfigFile + ` (without that file: the shipped roles, no clusters, and an
admin). When a file is saved the plugin is built again and replaced; requests and
sessions that run stay on the version they began on. If that fails, the error is
printed, and the earlier version serves on. A saved configuration, role or user applies
without a build.

A request without a login is that of ` + devhost.DefaultUser + `, or of the user whom its header
` + devhost.UserHeader + ` names. Limits, policy and the sandbox are those of a production host.
Each request is printed with its status, time, fuel and memory, its capability calls
and what policy decided about them; for a refusal, the lines that would permit it.

The host's data is in a temporary directory, which is removed at the end.

Exit codes: 0 interrupted, 1 it cannot begin, 2 bad usage.`,
		Example: "  bulkhead plugin dev\n  bulkhead plugin dev ./hello --listen 127.0.0.1:9090 --user ann@example.com",
		Args:    cobra.MaximumNArgs(1),
	}
	listen := c.Flags().String("listen", "", "address to serve at (default: that of the configuration)")
	user := c.Flags().String("user", devhost.DefaultUser, "user of requests without a login")
	c.RunE = func(c *cobra.Command, args []string) error {
		err := dev.Run(c.Context(), dev.Options{Dir: pluginDir(args), Listen: *listen, User: *user, Kinds: kinds(), Out: c.OutOrStdout()})
		if err != nil {
			return &runError{err}
		}
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
