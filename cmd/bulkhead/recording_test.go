package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/recording"
)

func TestRecordingsAreListedShownAndPlayed(t *testing.T) {
	dir := t.TempDir()
	store, err := recording.Open(dir, recording.Config{Input: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Begin(recording.Meta{User: "ann@example.com", Cluster: "dev", Namespace: "shop", Pod: "web", Reason: "INC-1", Command: "/bin/sh", TTY: true}, host.RecordAll)
	if err != nil {
		t.Fatal(err)
	}
	const said = "\x1b[31mred\x1b[0m \x1b]52;c;c3RvbGVu\x07word\r\n"
	if err := errors.Join(r.Input([]byte("ls\r")), r.Output(false, []byte(said)), r.Exit(7), r.End("logged out")); err != nil {
		t.Fatal(err)
	}

	stdout, stderr, code := bulkhead(t, "recording", "list", "--dir", dir)
	if code != 0 || !strings.Contains(stdout, r.ID()) || !strings.Contains(stdout, "dev/shop/web") || !strings.Contains(stdout, "logged out") {
		t.Errorf("list: %d\n%s%s", code, stdout, stderr)
	}
	var list []struct{ ID, User, Ended string }
	if stdout, _, _ := bulkhead(t, "recording", "list", "--dir", dir, "--json"); json.Unmarshal([]byte(stdout), &list) != nil || len(list) != 1 || list[0].User != "ann@example.com" {
		t.Errorf("list --json: %s", stdout)
	}
	stdout, stderr, code = bulkhead(t, "recording", "show", r.ID(), "--dir", dir)
	if code != 0 || strings.ContainsAny(stdout, "\x1b\x07\r") || !strings.Contains(stdout, "«ls»red word\n") || !strings.Contains(stdout, "INC-1") || !strings.Contains(stdout, "exit code      7") {
		t.Errorf("show: %d\n%q%s", code, stdout, stderr)
	}
	if stdout, stderr, code = bulkhead(t, "recording", "play", r.ID(), "--dir", dir, "--speed", "100"); code != 0 || stdout != said {
		t.Errorf("play: %d %q%s", code, stdout, stderr)
	}
	for flags, found := range map[string]bool{
		"--text|red word": true, "--text|blue": false, "--user|ann@*": true, "--user|ben@*": false, "--target|dev/*": true, "--since|1h": true, "--until|1h": false,
	} {
		stdout, stderr, code := bulkhead(t, append([]string{"recording", "search", "--dir", dir}, strings.Split(flags, "|")...)...)
		if code != 0 || strings.Contains(stdout, r.ID()) != found {
			t.Errorf("search %s: %d\n%s%s", flags, code, stdout, stderr)
		}
	}
	if _, stderr, code := bulkhead(t, "recording", "search", "--dir", dir, "--since", "yesterday"); code != 2 || !strings.Contains(stderr, "--since") {
		t.Errorf("an invalid time: %d %q", code, stderr)
	}
	copied := filepath.Join(t.TempDir(), "x.cast")
	if _, stderr, code := bulkhead(t, "recording", "export", r.ID(), "--dir", dir, "-o", copied); code != 0 {
		t.Errorf("export: %d %s", code, stderr)
	}
	original, _ := os.ReadFile(filepath.Join(dir, r.ID()+".cast"))
	if text, err := os.ReadFile(copied); err != nil || string(text) != string(original) {
		t.Errorf("exported\n%s\nof\n%s%v", text, original, err)
	}
	if _, _, code := bulkhead(t, "recording", "export", r.ID(), "--dir", dir, "-o", copied); code != 1 {
		t.Errorf("a file was overwritten: %d", code)
	}
	for _, args := range [][]string{{"show", "../x"}, {"play", "20250101T000000Z-abcdefghij"}} {
		if _, stderr, code := bulkhead(t, append([]string{"recording", "--dir", dir}, args...)...); code != 1 || !strings.Contains(stderr, "recording") {
			t.Errorf("%v: %d %q", args, code, stderr)
		}
	}
	if _, stderr, code := bulkhead(t, "recording", "play", r.ID(), "--dir", dir, "--speed", "0"); code != 2 || !strings.Contains(stderr, "--speed") {
		t.Errorf("no speed: %d %q", code, stderr)
	}
}
