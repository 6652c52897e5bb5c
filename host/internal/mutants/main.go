// Command mutants changes one critical line at a time and runs the tests of the
// package the line is in. A change that they detect is killed, one that they do
// not detect survives: it shows a promise without a test.
//
//	go run ./host/internal/mutants             # all of them: an hour or more
//	go run ./host/internal/mutants host/authn  # one package's
//
// Each package keeps its list in testdata/mutants.txt, in this form:
//
//	# An address counts only from a listed domain.
//	mapping.go
//	- if !m.listed(domain) {
//	+ if false {
//
// First the promise, then the file in the package's folder, then the text that
// is replaced and what replaces it. "@ TestName" names the test that must
// notice, where the package's other tests take long, and "> host/authz" another
// package whose tests must. The replaced text occurs exactly once in its file; a
// test holds all lists to that.
//
// The sources stay as they are: the go command is handed the changed file as an
// overlay, and its cache has everything else. Tests run without the race detector,
// up to the first that fails. Those of a package run once without a change first:
// if they fail, its changes are not tested. A change whose tests take far longer
// than without it counts as killed.
//
// A line per change goes to standard output, with -json an object each, and the
// table of packages to standard output or, with -json, to standard error. The exit
// code is 1 if a change is not killed, and 2 for invalid arguments or an invalid
// list.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: mutants [flags] [PACKAGE …]\n\nChanges one line at a time and runs the package's tests. PACKAGE is a folder such as host/authn.")
		flags.PrintDefaults()
	}
	root := flags.String("root", ".", "the repository's root `folder`")
	timeout := flags.Duration("timeout", 20*time.Minute, "how long the unchanged tests of a package may take, and the most for a change")
	asJSON := flags.Bool("json", false, "print one JSON object per change")
	match := flags.String("match", "", "only changes whose promise contains `text`")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	all, err := readAll(*root, flags.Args())
	if err != nil {
		fmt.Fprintln(stderr, "mutants:", err)
		return 2
	}
	all = matching(all, *match)
	if len(all) == 0 {
		fmt.Fprintln(stderr, "mutants: no list has a change that matches")
		return 2
	}
	r := &runner{root: *root, timeout: *timeout, baselines: map[string]baseline{}}
	patterns := testsNeeded(all)
	var results []result
	told := map[string]bool{}
	for i, m := range all {
		res := r.try(ctx, m, patterns[m.Tested])
		if ctx.Err() != nil {
			break
		}
		results = append(results, res)
		if *asJSON {
			_ = json.NewEncoder(stdout).Encode(res)
		} else {
			fmt.Fprintf(stdout, "%3d/%d %-10s %5.1f s  %s/%s: %s", i+1, len(all), res.Outcome, res.Seconds, m.Package, m.File, oneLine(m.Promise))
			if res.By != "" {
				fmt.Fprintf(stdout, " (%s)", res.By)
			}
			fmt.Fprintln(stdout)
		}
		if (res.Outcome == unbuilt || res.Outcome == untested) && !told[res.Output] {
			told[res.Output] = true
			fmt.Fprintln(stderr, res.Output)
		}
	}
	out := stdout
	if *asJSON {
		out = stderr
	}
	report(out, results)
	if ctx.Err() != nil {
		fmt.Fprintf(stderr, "mutants: interrupted after %d of %d changes\n", len(results), len(all))
		return 1
	}
	for _, res := range results {
		if res.Outcome != killed {
			return 1
		}
	}
	return 0
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// report prints what was not killed, a line per package and the totals.
func report(w io.Writer, results []result) {
	type row struct {
		killed, survived, unbuilt, untested int
		seconds                             float64
	}
	var order []string
	rows := map[string]*row{}
	total := &row{}
	for _, r := range results {
		if rows[r.Package] == nil {
			order = append(order, r.Package)
			rows[r.Package] = &row{}
		}
		for _, c := range []*row{rows[r.Package], total} {
			c.seconds += r.Seconds
			switch r.Outcome {
			case killed:
				c.killed++
			case survived:
				c.survived++
			case untested:
				c.untested++
			default:
				c.unbuilt++
			}
		}
	}
	fmt.Fprintln(w)
	for _, r := range results {
		if r.Outcome != killed {
			fmt.Fprintf(w, "%s: %s/%s:%d: %s\n", r.Outcome, r.Package, listName, r.line, oneLine(r.Promise))
		}
	}
	print := func(name string, c *row) {
		n := c.killed + c.survived + c.unbuilt + c.untested
		fmt.Fprintf(w, "%-34s %7d %6d %8d %9d %10d %7.0f %6.0f %%\n", name, n, c.killed, c.survived, c.unbuilt, c.untested, c.seconds,
			100*float64(c.killed)/float64(max(n, 1)))
	}
	fmt.Fprintf(w, "\n%-34s %7s %6s %8s %9s %10s %7s %8s\n", "package", "changes", "killed", "survived", "not built", "not tested", "seconds", "share")
	for _, p := range order {
		print(p, rows[p])
	}
	print("all", total)
}
