package main

import (
	"fmt"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
	"github.com/spf13/cobra"
)

func pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Build plugins, look into them, sign, publish and install them"}
	build := &cobra.Command{
		Use:   "build DIR",
		Short: "Compile the Go plugin in DIR and embed its manifest.json",
		Long: `Compile the Go plugin in DIR for wasip1, check that it exports what its routes
need and imports only the capabilities that DIR/manifest.json asks for, and
write one .wasm file with the manifest inside. A capability that this version
of the host does not have has to be optional. After an error the old file is as
it was.

Whether each route has a handler shows only when the plugin runs: test it with
sdk/sdktest, whose harness fails for a route without one and for a handler
without a route.`,
		Example: "  bulkhead plugin build ./plugins/echo -o build/plugins/echo.wasm",
		Args:    cobra.ExactArgs(1),
	}
	out := build.Flags().StringP("output", "o", "", "file to write (default: the directory's name with .wasm, here)")
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
