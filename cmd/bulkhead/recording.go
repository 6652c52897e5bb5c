package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
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
		Short: "List, show and play recorded terminals",
		Long: `List, show and play recorded terminals.

If policy requires it, the host records a terminal as an asciicast v2 file in the
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
	c.AddCommand(recordingList(where), recordingShow(where), recordingPlay(where))
	group(c)
	return c
}

func recordingList(where func() (string, error)) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List recordings, oldest first", Args: cobra.NoArgs}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := where()
		if err != nil {
			return err
		}
		list, err := recording.List(dir)
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
				{"lasted", e.Duration.Round(time.Millisecond).String()}, {"ended", e.Ended}, {"stated reason", e.Reason},
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
	idle := c.Flags().Duration("max-idle", 2*time.Second, "longest pause; 0 keeps all pauses")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *speed <= 0 {
			return fmt.Errorf("--speed %g must be more than 0", *speed)
		}
		dir, err := where()
		if err != nil {
			return err
		}
		if err := play(c.Context(), c.OutOrStdout(), dir, args[0], *speed, *idle); err != nil {
			return &runError{err}
		}
		return nil
	}
	return c
}

func play(ctx context.Context, out io.Writer, dir, id string, speed float64, idle time.Duration) error {
	var last time.Duration
	_, err := recording.Read(dir, id, func(v recording.Event) error {
		pause := v.At - last
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
