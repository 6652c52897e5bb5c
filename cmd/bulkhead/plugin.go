package main

import (
	"fmt"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
	"github.com/spf13/cobra"
)

func pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Write, build, test, sign, publish and install plugins"}
	build := &cobra.Command{
		Use:   "build DIR",
		Short: "Compile the plugin in DIR and embed its manifest.json",
		Long: `Compile the plugin in DIR and write one .wasm file that contains the manifest. If
DIR/build.sh exists it compiles the plugin, to the file that its argument names;
otherwise the plugin is a Go package and is compiled for wasip1. The command checks that the module exports what its routes need and
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
	c.AddCommand(build, packCommand(), inspectCommand(), pushCommand(), pullCommand(), keygenCommand(), signCommand(), verifyCommand(), catalogCommand())
	c.AddCommand(authorCommands()...)
	c.AddCommand(onlineCommands()...)
	group(c)
	return c
}

func packCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pack MODULE",
		Short: "Check a compiled module against its manifest.json and embed that",
		Long: `Check a module that a compiler made, in Rust, C, AssemblyScript or any other
language, against a manifest: that it exports what the manifest's routes need and
imports only the capabilities that the manifest asks for. Then write one .wasm
file with the manifest inside, in place of any manifest that the module has.
After an error the old file is as it was.

For a plugin in Go, "bulkhead plugin build" compiles and packs.`,
		Example: "  bulkhead plugin pack target/hello.wasm -m manifest.json -o hello.wasm",
		Args:    cobra.ExactArgs(1),
	}
	from := c.Flags().StringP("manifest", "m", pack.ManifestFile, "the manifest's file")
	out := c.Flags().StringP("output", "o", "", "file to write (default: the manifest's name with .wasm, here)")
	c.RunE = func(c *cobra.Command, args []string) error {
		written, err := pack.Pack(args[0], *from, *out, pack.Options{Capabilities: kinds().Names()})
		if err != nil {
			return &runError{err}
		}
		fmt.Fprintln(c.OutOrStdout(), written)
		return nil
	}
	return c
}
