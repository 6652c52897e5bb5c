package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/cases"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/dev"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/scaffold"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

// authorCommands are the commands for those who write a plugin, in its directory.
func authorCommands() []*cobra.Command {
	return []*cobra.Command{newCommand(), devCommand(), testCommand(), benchCommand(), sdkCommand()}
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

const aboutCases = `
DIR/` + cases.Dir + `/*.yaml has the cases, each a request, what must be answered, and the
capability calls that the plugin makes meanwhile, with their answers:

  cases:
    - name: pods are listed
      request: {path: "/list?cluster=dev&namespace=shop"}   # and method, header, body, json, user
      answer: {status: 200, json: [web]}                    # and header, text, contains
      calls:                                                # or cassette: pods.json
        - request: {url: "…"}                               # and method, body, json
          answer: {json: {items: [{metadata: {name: web}}]}}  # or error: {status, message}

Instead of the answer, a route of kind socket or events has the steps of its session:

    - name: what is said is repeated
      request: {path: /talk}
      socket:                                               # or events
        - send: {body: hi}                                  # or json, base64 (binary)
        - receive: {body: hi}                               # or json, base64, contains; event, id
        - close: {code: 4001, reason: bye}                  # by the plugin; else the client leaves

With an answer besides, and no steps (socket: []), the session must be refused with it. In
a session a capability call that the case has no answer for waits until the session ends.
`

func testCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run a plugin's cases against it as wasm",
		Long: `Build the plugin in DIR and make the requests of its cases to it, in a host with the
configuration in DIR/` + devhost.ConfigFile + `: the sandbox, limits, grants, roles and policy are
those of a production host; only the services that capabilities reach are replaced by
the cases.
` + aboutCases + `
With --record, the services of the configuration answer, and each cassette that a case
names is written. Look at it before you commit it: it has what the services answered.

Exit codes: 0 all cases passed, 1 one failed or they cannot be run, 2 bad usage.`,
		Example: "  bulkhead plugin test\n  bulkhead plugin test ./hello --json\n  bulkhead plugin test --record",
		Args:    cobra.MaximumNArgs(1),
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	record := c.Flags().Bool("record", false, "write the cassettes, with the services of the configuration")
	c.RunE = func(c *cobra.Command, args []string) error {
		results, err := cases.Test(c.Context(), cases.Options{Dir: pluginDir(args), Kinds: kinds(), Record: *record})
		if err != nil {
			return &runError{err}
		}
		if *asJSON {
			err = printJSON(c.OutOrStdout(), results)
		} else {
			printResults(c.OutOrStdout(), results)
		}
		if err == nil && cases.Failed(results) {
			err = &runError{errors.New("a case failed")}
		}
		return err
	}
	return c
}

func printResults(out io.Writer, results []cases.Result) {
	failed := 0
	for _, r := range results {
		word := "ok  "
		if !r.Passed {
			word, failed = "FAIL", failed+1
		}
		fmt.Fprintf(out, "%s  %s: %s  (%d", word, r.File, r.Case, r.Status)
		if r.Fuel > 0 {
			fmt.Fprintf(out, ", fuel %d", r.Fuel)
		}
		fmt.Fprintln(out, ")")
		for _, lines := range []struct {
			mark string
			list []string
		}{{"", r.Problems}, {"> ", r.Advice}, {"log: ", r.Log}} {
			for _, line := range lines.list {
				fmt.Fprintln(out, "      "+lines.mark+plain(line))
			}
		}
		if r.Recorded != "" {
			fmt.Fprintln(out, "      recorded in "+r.Recorded)
		}
	}
	fmt.Fprintf(out, "%d cases, %d failed\n", len(results), failed)
}

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench [DIR]",
		Short: "Print what a plugin's cases cost, and compare with a baseline",
		Long: `Build the plugin in DIR, run each of its cases several times as "bulkhead plugin test"
does, and print for each route what a call costs: fuel, which is about one for each
instruction, the memory of its instance, how much of that memory it has changed, and, of
a plugin in Go, how many objects it has allocated and how many bytes. Routes of kind
socket and events are left out. These numbers hardly depend on the machine, so they can
be compared in CI.

DIR/` + cases.BaselineFile + ` is the baseline, which --update writes. Commit it.

Exit codes: 0 done, 1 a cost exceeds its baseline by more than --factor, or the cases
cannot be run, 2 bad usage.`,
		Example: "  bulkhead plugin bench --update\n  bulkhead plugin bench ./hello --factor 1.1",
		Args:    cobra.MaximumNArgs(1),
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	update := c.Flags().Bool("update", false, "write the baseline")
	factor := c.Flags().Float64("factor", 1.2, "how much of its baseline a cost may be")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *factor < 1 {
			return errors.New("--factor must be at least 1")
		}
		dir := pluginDir(args)
		list, err := cases.Bench(c.Context(), cases.Options{Dir: dir, Kinds: kinds()}, *factor)
		if err != nil {
			return &runError{err}
		}
		if *asJSON {
			err = printJSON(c.OutOrStdout(), list)
		} else {
			err = printMeasurements(c.OutOrStdout(), list)
		}
		switch {
		case err != nil:
			return err
		case *update:
			if err := cases.Update(dir, list); err != nil {
				return &runError{err}
			}
			return nil
		case slices.ContainsFunc(list, func(m cases.Measurement) bool { return len(m.Worse) > 0 }):
			return &runError{fmt.Errorf("a cost is more than %g times its baseline; mend it, or write another baseline with --update", *factor)}
		}
		return nil
	}
	return c
}

func printMeasurements(out io.Writer, list []cases.Measurement) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROUTE\tCASE\tFUEL\tMEMORY KiB\tCHANGED KiB\tALLOCATIONS\tBYTES\tBASELINE")
	for _, m := range list {
		was := "none"
		if m.Was != nil {
			was = fmt.Sprintf("%d  %d  %d  %s  %s", m.Was.Fuel, m.Was.MemoryKiB, m.Was.ChangedKiB, known(m.Was.Allocations), known(m.Was.AllocatedBytes))
		}
		if len(m.Worse) > 0 {
			was += "  WORSE: " + strings.Join(m.Worse, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", m.Route, plain(m.Case), m.Fuel, m.MemoryKiB, m.ChangedKiB, known(m.Allocations), known(m.AllocatedBytes), was)
	}
	return w.Flush()
}

// known is a number, "-" if it is not known.
func known(n int) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
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
