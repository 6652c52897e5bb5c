package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func configFlag(c *cobra.Command) *string {
	return c.Flags().StringP("config", "c", "bulkhead.yaml", "configuration file")
}

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the host until it is interrupted",
		Long: `Run the host until it is interrupted.

Every key of the configuration can also be given in the environment, as
BULKHEAD_ and the key's path in capitals: BULKHEAD_LISTEN, BULKHEAD_DIRECTORY_FILES.
The value is YAML. Paths in the file are relative to the file.`,
		Args: cobra.NoArgs,
	}
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		loaded, err := server.Load(*file, os.Environ())
		if err != nil {
			return err
		}
		s, err := server.Open(c.Context(), loaded, loaded.Log.Logger(os.Stderr))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "bulkhead serves at %s\n", s.URL())
		if err := errors.Join(s.Serve(c.Context()), s.Close()); err != nil {
			return &runError{err}
		}
		return nil
	}
	return c
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and print the configuration, and list its keys"}
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
	c.AddCommand(check, show, schemaCommand())
	group(c)
	return c
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

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), server.Version()) },
	}
}
