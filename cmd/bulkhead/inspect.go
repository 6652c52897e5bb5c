package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Describe a plugin and check whether the host would accept it, without running it",
		Long: `Describe a plugin without running it: its manifest, the capabilities that it
requests, how the host resets its state, the sizes of its module beside the limits,
and each reason for which the host would refuse it.

With --config, the limits of the configuration apply. If FILE is the source of one
of its plugins, or if --plugin names one, the limits and grants of that plugin apply
too, and a required capability that is not granted is a reason to refuse the plugin.

Exit codes: 0 the plugin would be accepted, 1 it would be refused, 2 the file or the
configuration cannot be read.`,
		Example: "  bulkhead plugin inspect hello.wasm\n  bulkhead plugin inspect hello.wasm -c bulkhead.yaml --plugin hello --json",
		Args:    cobra.ExactArgs(1),
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	config := c.Flags().StringP("config", "c", "", "configuration whose limits and grants apply (default: none; the default limits apply)")
	name := c.Flags().String("plugin", "", "the configured plugin that FILE is checked as (default: the plugin whose source is FILE)")
	c.RunE = func(c *cobra.Command, args []string) error {
		as, err := pluginOf(*config, *name, args[0])
		if err != nil {
			return err
		}
		i, err := plugin.Inspect(kinds(), as)
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

// pluginOf returns the configuration of the plugin whose file is given.
func pluginOf(config, name, file string) (c plugin.Config, err error) {
	if config == "" && name != "" {
		return c, errors.New("--plugin names a plugin of the configuration; give --config as well")
	}
	if config != "" {
		all, err := server.Load(config, os.Environ())
		if err != nil {
			return c, err
		}
		path, err := filepath.Abs(file)
		if err != nil {
			return c, err
		}
		i := slices.IndexFunc(all.Plugins, func(p plugin.Config) bool {
			return name == p.Name || name == "" && path == p.Source
		})
		if i >= 0 {
			c = all.Plugins[i]
		} else if name != "" {
			return c, fmt.Errorf("%s has no plugin %q", config, name)
		}
		c.Limits = c.Limits.Over(all.Limits.Plugins)
	}
	c.Source = file
	return c, nil
}

// describe prints an inspection as text.
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
		if m.ABI != "" {
			row("abi", "%s: %s", m.ABI, abiNames[m.ABI])
		}
		for _, r := range m.Routes {
			row("route "+r.Name, "%s %s (%s), action %s", r.Method, r.Path, r.Kind, r.Action)
		}
		for _, c := range m.Capabilities {
			need := "required"
			if c.Optional {
				need = "optional"
			}
			if slices.Contains(i.Denied, c.Name) {
				need += ", not granted"
			}
			row("capability "+c.Name, "%s: %s", need, c.Reason)
		}
	}
	l := i.Limits
	row("limits", "%d MiB of memory per instance, %d MiB in total; %d instances; %v per call; %s; request bodies of %d bytes",
		l.MemoryMiB, l.TotalMiB, l.Instances, time.Duration(l.Timeout), fuel(l.Fuel), l.BodyBytes)
	if m := i.Module; m != nil {
		row("imports", "%s", cmp.Or(strings.Join(i.Imported, ", "), "no capability"))
		row("state", "%s", freshness(m.FreshBecause))
		row("size", "%d instructions, %d loops, %d bytes of data, %d KiB of initial memory; %d bytes when rewritten",
			m.Instructions, m.Loops, m.DataBytes, m.MemoryBytes>>10, m.RewrittenBytes)
		for _, line := range declared(m.Counts, l.Module) {
			row("declares", "%s", line)
		}
	}
	for _, why := range i.Refused {
		row("REFUSED", "%s", strings.ReplaceAll(why, "\n", " "))
	}
	return w.Flush()
}

func fuel(n int64) string {
	if n == 0 {
		return "no limit on fuel"
	}
	return fmt.Sprintf("%d fuel per call", n)
}

// declared returns how much of each limit a module uses, four limits per line.
func declared(counts, limits sandbox.ModuleLimits) (lines []string) {
	var line []string
	used, most := reflect.ValueOf(counts), reflect.ValueOf(limits)
	for k := range used.NumField() {
		name, _, _ := strings.Cut(used.Type().Field(k).Tag.Get("json"), ",")
		if name == "-" || name == "codeBytes" || strings.HasSuffix(strings.ToLower(name), "namebytes") { // not counted
			continue
		}
		line = append(line, fmt.Sprintf("%s %d of %d", name, used.Field(k).Int(), max(0, most.Field(k).Int())))
		if len(line) == 4 {
			lines, line = append(lines, strings.Join(line, ", ")), nil
		}
	}
	if len(line) > 0 {
		lines = append(lines, strings.Join(line, ", "))
	}
	return lines
}

func freshness(because []string) string {
	if len(because) == 0 {
		return "restored after each call to the state after the start"
	}
	return "a new instance for each call: " + strings.Join(because, ", ")
}
