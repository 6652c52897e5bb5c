package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/seed-a3fb47d6/bulkhead/host/recording"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func recordingCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "recording",
		Short: "Search, show, play and export recorded terminals",
		Long: `Search, show, play and export recorded terminals.

If policy requires it, the host records a terminal as an asciicast v3 file in the
directory "recordings" of its data directory; asciinema plays these files too. The
directory is that of the configuration, or of --dir.`,
	}
	config, dir := c.PersistentFlags().StringP("config", "c", "bulkhead.yaml", "configuration file"), c.PersistentFlags().String("dir", "", "directory of recordings, instead of the configuration's")
	where := func() (string, error) {
		if *dir != "" {
			return *dir, nil
		}
		loaded, err := server.Load(*config, os.Environ())
		if err != nil {
			return "", err
		}
		return loaded.RecordingsDir(), nil
	}
	c.AddCommand(recordingList(where), recordingExport(where), recordingShow(where), recordingPlay(where))
	group(c)
	return c
}

func recordingList(where func() (string, error)) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"search"}, Args: cobra.NoArgs,
		Short: "List recordings, oldest first, all or those that the flags select",
		Example: `  bulkhead recording search --text 'drop table' --since 24h
  bulkhead recording list --user 'ann@*' --target 'prod/*' --json`,
	}
	var f recording.Filter
	c.Flags().StringVar(&f.User, "user", "", "only of this user; * matches any characters")
	c.Flags().StringVar(&f.Target, "target", "", "only in CLUSTER/NAMESPACE/POD; * matches any characters")
	c.Flags().StringVar(&f.Text, "text", "", "only with this text in output or input")
	since, until := c.Flags().String("since", "", "only those that began at or after a time (RFC 3339), or so long ago (24h)"), c.Flags().String("until", "", "only those that began before")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := where()
		if err != nil {
			return err
		}
		if f.Since, err = moment("since", *since); err != nil {
			return err
		}
		if f.Until, err = moment("until", *until); err != nil {
			return err
		}
		list, err := recording.Search(dir, f)
		if err != nil {
			return &runError{err}
		}
		if *asJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(list)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tLASTED\tUSER\tTARGET\tCOMMAND\tBYTES\tENDED")
		for _, e := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", e.ID, e.Duration.Round(time.Second), plain(e.User), plain(e.Target()), plain(clip(e.Command)), e.Bytes, plain(e.Ended))
		}
		return w.Flush()
	}
	return c
}

// moment reads a flag with a time, or how long ago; "" is the zero time.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("--%s %q must be a time such as 2026-01-02T15:04:05Z or a duration such as 24h", flag, text)
	}
	return at, nil
}

func recordingExport(where func() (string, error)) *cobra.Command {
	c := &cobra.Command{
		Use: "export ID", Args: cobra.ExactArgs(1),
		Short:   "Write a recording as asciicast v3, for asciinema or another player",
		Example: "  bulkhead recording export 20260102T150405Z-abcdefghij -o shell.cast",
	}
	to := c.Flags().StringP("output", "o", "", "file, which must not exist; default: standard output")
	c.RunE = func(c *cobra.Command, args []string) error {
		dir, err := where()
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if *to != "" {
			f, err := os.OpenFile(*to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return &runError{err}
			}
			defer f.Close()
			out = f
		}
		if err := recording.Export(dir, args[0], out); err != nil {
			if *to != "" {
				_ = os.Remove(*to)
			}
			return &runError{err}
		}
		return nil
	}
	return c
}

func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:39]) + "…"
	}
	return s
}

// plain replaces the characters of text that could control a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '.'
	}, s)
}

func recordingShow(where func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Args: cobra.ExactArgs(1),
		Short: "Print a recording's user, target and output as plain text",
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := where()
			if err != nil {
				return err
			}
			var text strings.Builder
			e, err := recording.Read(dir, args[0], func(v recording.Event) error {
				switch v.Kind {
				case "o":
					text.WriteString(v.Data)
				case "i":
					fmt.Fprintf(&text, "«%s»", v.Data)
				}
				return nil
			})
			if err != nil {
				return &runError{err}
			}
			out := c.OutOrStdout()
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			for _, row := range [][2]string{
				{"user", e.User}, {"target", e.Target() + " " + e.Container}, {"command", e.Command}, {"began", e.Began.Format(time.RFC3339)},
				{"lasted", e.Duration.Round(time.Millisecond).String()}, {"ended", e.Ended}, {"exit code", exitCode(e)}, {"stated reason", e.Reason},
				{"decision", e.Decision}, {"request", e.RequestID}, {"recorded", string(e.Record)},
			} {
				if row[1] != "" {
					fmt.Fprintf(w, "%s\t%s\n", row[0], plain(row[1]))
				}
			}
			_ = w.Flush()
			fmt.Fprintf(out, "\n%s\n", withoutEscapes(text.String()))
			return nil
		},
	}
}

func recordingPlay(where func() (string, error)) *cobra.Command {
	c := &cobra.Command{
		Use: "play ID", Args: cobra.ExactArgs(1),
		Short: "Play a recording in this terminal",
		Long: `Play a recording in this terminal. The command writes the recorded output to this
terminal with all control sequences; "show" removes them.`,
	}
	speed := c.Flags().Float64("speed", 1, "factor of the speed")
	from := c.Flags().Duration("from", 0, "begin at this time of the recording, or shortly before")
	idle := c.Flags().Duration("max-idle", 2*time.Second, "longest pause; 0 keeps all pauses")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *from < 0 {
			return fmt.Errorf("--from %v must not be negative", *from)
		}
		if *speed <= 0 {
			return fmt.Errorf("--speed %g must be more than 0", *speed)
		}
		dir, err := where()
		if err != nil {
			return err
		}
		if err := play(c.Context(), c.OutOrStdout(), dir, args[0], *from, *speed, *idle); err != nil {
			return &runError{err}
		}
		return nil
	}
	return c
}

func play(ctx context.Context, out io.Writer, dir, id string, from time.Duration, speed float64, idle time.Duration) error {
	last := from
	_, err := recording.ReadFrom(dir, id, from, func(v recording.Event) error {
		pause := max(v.At-last, 0)
		if last = v.At; idle > 0 {
			pause = min(pause, idle)
		}
		select {
		case <-time.After(time.Duration(float64(pause) / speed)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if v.Kind != "o" {
			return nil
		}
		_, err := io.WriteString(out, v.Data)
		return err
	})
	return err
}

func exitCode(e *recording.Entry) string {
	if e.ExitCode == nil {
		return ""
	}
	return strconv.Itoa(*e.ExitCode)
}
