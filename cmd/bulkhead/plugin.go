package main

import (
	"fmt"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
	"github.com/spf13/cobra"
)

func pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Build, inspect, sign, publish and install plugins"}
	build := &cobra.Command{
		Use:   "build DIR",
		Short: "Compile the Go plugin in DIR and embed its manifest.json",
		Long: `Compile the Go plugin in DIR for wasip1 and write one .wasm file that contains the
manifest. The command checks that the module exports what its routes need and
imports only the capabilities that DIR/manifest.json requests. A capability that
this version of the host does not know must be optional. After an error the old
file is unchanged.

Only a running plugin shows whether each route has a handler: test it with
sdk/sdktest, which fails for a route without a handler and for a handler without a
route.`,
		Example: "  bulkhead plugin build ./plugins/echo -o build/plugins/echo.wasm",
		Args:    cobra.ExactArgs(1),
	}
	out := build.Flags().StringP("output", "o", "", "file to write (default: the name of DIR with .wasm, in the working directory)")
	build.RunE = func(c *cobra.Command, args []string) error {
		if *out == "" {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			*out = filepath.Base(dir) + ".wasm"
		}
		if err := pack.Build(c.Context(), args[0], *out, pack.Options{Capabilities: kinds().Names()}); err != nil {
			return &runError{err}
		}
		fmt.Fprintln(c.OutOrStdout(), *out)
		return nil
	}
	c.AddCommand(build, inspectCommand(), pushCommand(), pullCommand(), keygenCommand(), signCommand(), verifyCommand(), catalogCommand())
	c.AddCommand(onlineCommands()...)
	group(c)
	return c
}
