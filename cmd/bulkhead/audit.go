package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Follow, search, verify and export the record of everything that has an effect",
		Long: `Follow, search, verify and export the record of everything that has an effect:
sign-ins, sessions, changes by plugins and administrators, and who looked at them.

"tail" and "search" ask a host, which records that they did. "verify" and "export" read
the files, also while no host runs. With --json each record is printed as it is, one on a
line.
`,
	}
	c.AddCommand(auditTail(), auditSearch(), auditVerify(), auditExport())
	group(c)
	return c
}

// auditFilter has the flags that select records.
type auditFilter struct{ values map[string]*string }

func auditFlags(c *cobra.Command) auditFilter {
	f := auditFilter{map[string]*string{}}
	for _, name := range audit.FilterNames() {
		f.values[name] = c.Flags().String(name, "", "only records with this "+name+"; * matches any characters")
	}
	f.values["since"] = c.Flags().String("since", "", "only records from this time on: 2026-01-31T08:00:00Z, or 24h before now")
	f.values["until"] = c.Flags().String("until", "", "only records before this time, likewise")
	return f
}

func (f auditFilter) query() url.Values {
	q := url.Values{}
	for name, v := range f.values {
		if *v != "" {
			q.Set(name, *v)
		}
	}
	return q
}

const auditPath = "/api/admin/audit"

func auditTail() *cobra.Command {
	c := &cobra.Command{
		Use: "tail", Args: cobra.NoArgs,
		Short:   "Print records as they are written",
		Long:    "Print the last records, and then others as they are written, until interrupted.\n" + foundHost,
		Example: "  bulkhead audit tail --kind capability\n  bulkhead audit tail --user ann@example.com --json | jq .target",
	}
	of, f := connectionFlags(c), auditFlags(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	last := c.Flags().IntP("lines", "n", 10, "number of earlier records to print, at most 1000")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := of.open()
		if err != nil {
			return err
		}
		q, cursor := f.query(), uint64(0)
		if *last > 0 {
			q.Set("limit", strconv.Itoa(*last))
			var page audit.Page
			if err := client.Do(c.Context(), "GET", auditPath+"?"+q.Encode(), nil, &page); err != nil {
				return &runError{err}
			}
			for i := len(page.Records) - 1; i >= 0; i-- {
				cursor = max(cursor, seqOf(page.Records[i]))
				printRecord(c.OutOrStdout(), page.Records[i], *asJSON)
			}
			q.Del("limit")
		}
		q.Set("follow", "true")
		if cursor > 0 {
			q.Set("cursor", strconv.FormatUint(cursor, 10))
		}
		err = client.Stream(c.Context(), auditPath+"?"+q.Encode(), func(line []byte) error {
			if record, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				printRecord(c.OutOrStdout(), record, *asJSON)
			}
			return nil
		})
		switch {
		case c.Context().Err() != nil:
			return nil
		case err == nil:
			err = errors.New("the host has ended the stream")
		}
		return &runError{err}
	}
	return c
}

func auditSearch() *cobra.Command {
	c := &cobra.Command{
		Use: "search", Args: cobra.NoArgs,
		Short:   "Print the selected records, the newest first",
		Long:    "Print the selected records that a host keeps, the newest first.\n" + foundHost,
		Example: "  bulkhead audit search --user ann@example.com --since 24h\n  bulkhead audit search --request 5TGRPRHZVQDA2JZX3W7E6QLNHX",
	}
	of, f := connectionFlags(c), auditFlags(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	limit := c.Flags().Int("limit", 100, "the most records to print; 0 prints all")
	oldest := c.Flags().Bool("oldest-first", false, "begin with the oldest")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := of.open()
		if err != nil {
			return err
		}
		q := f.query()
		if *oldest {
			q.Set("order", "oldest")
		}
		for printed := 0; ; {
			if page := audit.MaxPage; *limit > 0 {
				q.Set("limit", strconv.Itoa(min(page, *limit-printed)))
			} else {
				q.Set("limit", strconv.Itoa(page))
			}
			var page audit.Page
			if err := client.Do(c.Context(), "GET", auditPath+"?"+q.Encode(), nil, &page); err != nil {
				return &runError{err}
			}
			for _, r := range page.Records {
				printRecord(c.OutOrStdout(), r, *asJSON)
			}
			if printed += len(page.Records); page.Next == 0 || *limit > 0 && printed >= *limit {
				return nil
			}
			q.Set("cursor", strconv.FormatUint(page.Next, 10))
		}
	}
	return c
}

// auditFiles has the flags that select a directory of records.
type auditFiles struct{ config, dir *string }

func auditFileFlags(c *cobra.Command) auditFiles {
	return auditFiles{configFlag(c), c.Flags().String("dir", "", "directory with the audit's files, instead of the configuration's")}
}

func (f auditFiles) open() (dir string, loaded *server.Config, err error) {
	if *f.dir != "" {
		return *f.dir, nil, nil
	}
	if loaded, err = server.Load(*f.config, os.Environ()); err != nil {
		return "", nil, err
	}
	if dir = loaded.AuditDir(); dir == "" {
		err = errors.New("audit.off or audit.noFile is set in the configuration, so there are no files")
	}
	return dir, loaded, err
}

func auditVerify() *cobra.Command {
	c := &cobra.Command{
		Use: "verify", Args: cobra.NoArgs,
		Short: "Check that no record was changed, moved or removed",
		Long: `Check that no record was changed, inserted, moved or removed, and print each place where
one was. The checkpoints are checked with a key that is derived from the host key, so run
this as the user that the host runs as. With --dir no key is known: give --config too, or
--unsigned, which checks the hashes alone.

What somebody with the host key writes cannot be told from what the host writes. Note the
last record's number and hash elsewhere, or send the records to another server, to be sure
of them later: --expect NUMBER:HASH checks that this record is still there.

Exit code 1 if a record is not what the host wrote.`,
		Example: "  bulkhead audit verify\n  bulkhead audit verify --dir ./copy/audit --unsigned --json",
	}
	f := auditFileFlags(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	unsigned := c.Flags().Bool("unsigned", false, "do not check signatures")
	expect := c.Flags().String("expect", "", "a record that must be there, as NUMBER:HASH")
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, loaded, err := f.open()
		if err != nil {
			return err
		}
		var key []byte
		if loaded == nil && c.Flags().Changed("config") {
			if loaded, err = server.Load(*f.config, os.Environ()); err != nil {
				return err
			}
		}
		switch {
		case *unsigned:
		case loaded == nil:
			return errors.New("--dir: the key is not known; give --config of the host that wrote it, or --unsigned")
		default:
			if key, err = loaded.AuditKey(); err != nil {
				return &runError{err}
			}
		}
		report, err := audit.VerifyExpecting(dir, key, *expect)
		if err != nil {
			return &runError{err}
		}
		if *asJSON {
			err = printJSON(c.OutOrStdout(), report)
		} else {
			printReport(c.OutOrStdout(), report, key != nil)
		}
		if err == nil && !report.Sound() {
			err = &runError{errors.New("the audit is not what the host wrote")}
		}
		return err
	}
	return c
}

func printReport(out io.Writer, r *audit.Report, signed bool) {
	for _, p := range r.Problems {
		fmt.Fprintln(out, plain(p.String()))
	}
	fmt.Fprintf(out, "%d records (%d to %d) in %d files of %s, %d checkpoints", r.Records, r.First, r.Last, r.Files, plain(r.Dir), r.Checkpoints)
	if !signed {
		fmt.Fprint(out, ", whose signatures were not checked")
	}
	fmt.Fprintf(out, "\nlast record: %d:%s\n", r.Last, r.Hash)
	if len(r.Open) > 0 {
		fmt.Fprintf(out, "%d effects without an outcome\n", len(r.Open))
	}
	if r.Sound() {
		fmt.Fprintln(out, "nothing was changed")
	}
}

func auditExport() *cobra.Command {
	c := &cobra.Command{
		Use: "export", Args: cobra.NoArgs,
		Short:   "Write the selected records as JSON lines, the oldest first",
		Long:    "Write the selected records as JSON lines, the oldest first, from the files. The files\nthemselves, copied as they are, can be verified; an export cannot.",
		Example: "  bulkhead audit export --since 720h -o november.jsonl\n  bulkhead audit export --kind signin | jq -r 'select(.outcome == \"refused\") | .remote'",
	}
	f, filter := auditFileFlags(c), auditFlags(c)
	to := c.Flags().StringP("output", "o", "", "file to write, which must not exist; standard output by default")
	c.Flags().Bool("json", true, "records are always JSON")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		dir, _, err := f.open()
		if err != nil {
			return err
		}
		q, err := audit.ParseQuery(filter.query())
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if *to != "" {
			file, err := os.OpenFile(*to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return &runError{err}
			}
			defer file.Close()
			out = file
		}
		err = (&audit.Store{Dir: dir}).Export(c.Context(), &q.Filter, func(line []byte) error {
			_, err := fmt.Fprintf(out, "%s\n", line)
			return err
		})
		if err != nil {
			return &runError{err}
		}
		return nil
	}
	return c
}

func seqOf(record []byte) uint64 {
	var r struct {
		Seq uint64 `json:"seq"`
	}
	_ = json.Unmarshal(record, &r)
	return r.Seq
}

// printRecord prints a record as JSON, or as one line for people.
func printRecord(out io.Writer, record []byte, asJSON bool) {
	if asJSON {
		fmt.Fprintf(out, "%s\n", record)
		return
	}
	var r struct {
		Time                                                                      time.Time
		Stage, Kind, Action, Target, User, OnBehalfOf, Reason, Outcome, Error, ID string
	}
	if json.Unmarshal(record, &r) != nil {
		fmt.Fprintf(out, "%s\n", plain(string(record)))
		return
	}
	what := r.Stage
	if r.Outcome != "" {
		what = r.Outcome
	}
	line := []string{r.Time.Format(time.RFC3339), cmp.Or(what, "-"), r.Kind, cmp.Or(r.User, "-"), cmp.Or(r.Action, "-"), r.Target}
	if r.Reason != "" {
		line = append(line, "because "+strconv.Quote(r.Reason))
	}
	if r.Error != "" {
		line = append(line, "("+r.Error+")")
	}
	fmt.Fprintln(out, plain(strings.Join(append(line, r.ID), "  ")))
}
