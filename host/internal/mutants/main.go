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
// overlay. The exit code is 1 if a change survives or cannot be built, and 2
// for invalid arguments or an invalid list.
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
	timeout := flags.Duration("timeout", 10*time.Minute, "how long the tests may take per change; longer counts as noticed")
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
	var results []result
	for i, m := range all {
		r := try(ctx, *root, m, *timeout)
		if ctx.Err() != nil {
			fmt.Fprintln(stderr, "mutants: interrupted")
			return 1
		}
		results = append(results, r)
		if *asJSON {
			_ = json.NewEncoder(stdout).Encode(r)
		} else {
			fmt.Fprintf(stdout, "%3d/%d %-8s %s/%s: %s\n", i+1, len(all), r.Outcome, m.Package, m.File, m.Promise)
		}
		if r.Outcome == unbuilt {
			fmt.Fprintln(stderr, r.Output)
		}
	}
	if !*asJSON {
		table(stdout, results)
	}
	for _, r := range results {
		if r.Outcome != killed {
			return 1
		}
	}
	return 0
}

// table prints a line per package and the totals.
func table(w io.Writer, results []result) {
	type count struct{ killed, survived, unbuilt int }
	var order []string
	counts := map[string]*count{}
	total := &count{}
	for _, r := range results {
		if counts[r.Package] == nil {
			order = append(order, r.Package)
			counts[r.Package] = &count{}
		}
		for _, c := range []*count{counts[r.Package], total} {
			switch r.Outcome {
			case killed:
				c.killed++
			case survived:
				c.survived++
			default:
				c.unbuilt++
			}
		}
	}
	fmt.Fprintf(w, "\n%-40s %7s %9s %11s\n", "package", "killed", "survived", "not built")
	for _, p := range order {
		fmt.Fprintf(w, "%-40s %7d %9d %11d\n", p, counts[p].killed, counts[p].survived, counts[p].unbuilt)
	}
	fmt.Fprintf(w, "%-40s %7d %9d %11d   %.0f %% killed\n", "all", total.killed, total.survived, total.unbuilt,
		100*float64(total.killed)/float64(len(results)))
}
