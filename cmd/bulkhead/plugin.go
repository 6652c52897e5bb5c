package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
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

Then it runs the plugin's registration in the sandbox, and compares its handlers with
the manifest's routes, unless the SDK does not report handlers.`,
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
		if err := pack.Build(c.Context(), args[0], *out, packing()); err != nil {
			return &runError{err}
		}
		fmt.Fprintln(c.OutOrStdout(), *out)
		return nil
	}
	c.AddCommand(build, packCommand(), adoptCommand(), inspectCommand(), pushCommand(), pullCommand(), keygenCommand(), signCommand(), verifyCommand(), catalogCommand())
	c.AddCommand(authorCommands()...)
	c.AddCommand(onlineCommands()...)
	group(c)
	return c
}

// packing are the checks of build and pack.
func packing() pack.Options {
	return pack.Options{Capabilities: kinds().Names(), Check: func(ctx context.Context, packed []byte) error {
		cache, err := devhost.CompiledCache()
		if err != nil {
			return err
		}
		box, err := sandbox.New(sandbox.Config{CacheDir: cache})
		if err != nil {
			return err
		}
		return plugin.CheckHandlers(ctx, box, packed)
	}}
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
		written, err := pack.Pack(c.Context(), args[0], *from, *out, packing())
		if err != nil {
			return &runError{err}
		}
		fmt.Fprintln(c.OutOrStdout(), written)
		return nil
	}
	return c
}
