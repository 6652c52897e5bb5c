package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/spf13/cobra"
)

func policyTestCommand() *cobra.Command {
	var f policyFlags
	var o policytool.TestOptions
	var verbose bool
	c := &cobra.Command{
		Use:   "test [POLICY]",
		Short: "Run the policy's tests, as the host does before it publishes it",
		Long: `Run the rules named test_… in the policy's files *_test.rego, compiled with the
shipped rules, as the host does before it publishes the policy. Output of print()
is shown for tests that fail, and with -v for all tests.

Exit code 1 if a test fails or no test matches --run.`,
		Example: "  bulkhead policy test ./policies --coverage",
		Args:    cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&o.Run, "run", "r", "", "run only tests whose name matches this regular expression")
	c.Flags().BoolVar(&o.Coverage, "coverage", false, "list the lines that no test reaches")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "also list the tests that pass")
	c.RunE = func(c *cobra.Command, args []string) error {
		if _, err := regexp.Compile(o.Run); err != nil {
			return fmt.Errorf("--run: %w", err)
		}
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		report, err := policytool.Test(c.Context(), p, o)
		if err != nil {
			return &runError{err}
		}
		if f.json {
			err = printJSON(c.OutOrStdout(), report)
		} else {
			printTests(c.OutOrStdout(), report, verbose)
		}
		if err == nil && report.Failed > 0 {
			err = &runError{fmt.Errorf("%d of %d tests failed", report.Failed, len(report.Results))}
		}
		if err == nil && o.Run != "" && len(report.Results) == 0 {
			err = &runError{fmt.Errorf("--run: no test's name matches %s", o.Run)}
		}
		return err
	}
	return c
}

func printTests(w io.Writer, report *policytool.TestReport, verbose bool) {
	for i := range report.Results {
		r := &report.Results[i]
		word := "PASS"
		switch {
		case r.Skipped:
			word = "SKIP"
		case r.Failed():
			word = "FAIL"
		case !verbose:
			continue
		}
		fmt.Fprintf(w, "%s  %s\n", word, r)
		for line := range strings.Lines(r.Output) {
			fmt.Fprintf(w, "      %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	if report.Coverage != nil {
		for _, name := range slices.Sorted(maps.Keys(report.Coverage.Files)) {
			var lines []string
			for _, gap := range report.Coverage.Files[name].NotCovered {
				lines = append(lines, fmt.Sprintf("%s:%d: not reached, to line %d\n", name, gap.Start.Row, gap.End.Row))
			}
			// Several parts of a line may not be reached.
			fmt.Fprint(w, strings.Join(slices.Compact(lines), ""))
		}
		fmt.Fprintf(w, "coverage of the policy's files: %.0f %%\n", coverage(report))
	}
	skipped := ""
	if n := countSkipped(report); n > 0 {
		skipped = fmt.Sprintf(", %d skipped", n)
	}
	fmt.Fprintf(w, "%d tests, %d failed%s\n", len(report.Results), report.Failed, skipped)
}

func countSkipped(report *policytool.TestReport) (n int) {
	for i := range report.Results {
		if report.Results[i].Skipped {
			n++
		}
	}
	return n
}

// coverage counts lines that have something to reach.
func coverage(report *policytool.TestReport) float64 {
	reached, all := 0, 0
	for _, file := range report.Coverage.Files {
		reached += file.CoveredLines
		all += file.CoveredLines + file.NotCoveredLines
	}
	if all == 0 {
		return 100
	}
	return 100 * float64(reached) / float64(all)
}
