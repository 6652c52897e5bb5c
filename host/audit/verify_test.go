package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// written makes a chain of several files and returns its directory.
func written(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	trail, end := opened(t, dir, func(c *TrailConfig) { c.File = &Chain{Keep: 4} })
	chain := trail.current.Load().chain
	chain.mu.Lock()
	chain.max = 2 << 10
	chain.mu.Unlock()
	for i := range 30 {
		x, err := trail.Begin(t.Context(), &Event{Kind: KindCapability, User: "ann", Target: fmt.Sprint("dev/shop/", i)})
		if err != nil {
			t.Fatal(err)
		}
		x.End(Outcome{})
	}
	end()
	return dir
}

// TestAuditVerifyFindsEveryEdit changes a chain in a random way, many times, as somebody
// could who can write the files and does not have the key: also somebody who computes the
// hashes of all that follows again.
func TestAuditVerifyFindsEveryEdit(t *testing.T) {
	original := written(t)
	sound(t, original)
	files, err := chainFiles(original)
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	names := make([]string, 0, len(edits))
	for name := range edits {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range 360 {
		name := names[i%len(names)]
		dir := filepath.Join(t.TempDir(), "audit")
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			t.Fatal(err)
		}
		file := files[random.IntN(len(files))]
		what := edits[name](t, random, dir, file)
		r, err := Verify(dir, testKey)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Sound() {
			t.Fatalf("seed %d: %s: %s in %s is not found", seed, name, what, file)
		}
		for _, p := range r.Problems {
			if p.Text == "" || p.File == "" && p.Seq == 0 && !strings.Contains(p.Text, "records ") && !strings.Contains(p.Text, headFile) {
				t.Errorf("%s: the place is not said: %+v", name, p)
			}
		}
	}
}

// edits are ways to change a chain; each returns what it did.
var edits = map[string]func(t *testing.T, r *rand.Rand, dir, file string) string{
	"a byte is changed": func(t *testing.T, r *rand.Rand, dir, file string) string {
		text := contents(t, dir, file)
		i := r.IntN(len(text))
		text[i] ^= byte(1 + r.IntN(127))
		put(t, dir, file, text)
		return fmt.Sprint("byte ", i)
	},
	"a line is removed": func(t *testing.T, r *rand.Rand, dir, file string) string {
		lines := linesOf(t, dir, file)
		i := r.IntN(len(lines))
		put(t, dir, file, bytes.Join(slices.Delete(lines, i, i+1), nil))
		return fmt.Sprint("line ", i+1)
	},
	"two lines change places": func(t *testing.T, r *rand.Rand, dir, file string) string {
		lines := linesOf(t, dir, file)
		i := r.IntN(len(lines) - 1)
		lines[i], lines[i+1] = lines[i+1], lines[i]
		put(t, dir, file, bytes.Join(lines, nil))
		return fmt.Sprint("lines ", i+1)
	},
	"a line is there twice": func(t *testing.T, r *rand.Rand, dir, file string) string {
		lines := linesOf(t, dir, file)
		i := r.IntN(len(lines))
		put(t, dir, file, bytes.Join(slices.Insert(lines, i, lines[i]), nil))
		return fmt.Sprint("line ", i+1)
	},
	"the end is cut off": func(t *testing.T, r *rand.Rand, dir, file string) string {
		text := contents(t, dir, file)
		n := r.IntN(len(text))
		put(t, dir, file, text[:n])
		return fmt.Sprint("at ", n)
	},
	"whole lines are cut off": func(t *testing.T, r *rand.Rand, dir, file string) string {
		lines := linesOf(t, dir, file)
		n := r.IntN(len(lines))
		put(t, dir, file, bytes.Join(lines[:n], nil))
		return fmt.Sprint("after line ", n)
	},
	"a file is removed": func(t *testing.T, _ *rand.Rand, dir, file string) string {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
		return "all"
	},
	"a record is appended with the right hash": func(t *testing.T, _ *rand.Rand, dir, _ string) string {
		files, _ := chainFiles(dir)
		last := files[len(files)-1]
		lines := linesOf(t, dir, last)
		put(t, dir, last, append(bytes.Join(lines, nil), forged(t, lines[len(lines)-1], map[string]any{"kind": "session", "stage": "event"})...))
		return "a record"
	},
	"a record is changed and all hashes are computed again": func(t *testing.T, r *rand.Rand, dir, file string) string {
		i := r.IntN(len(linesOf(t, dir, file)))
		rewrite(t, dir, file, i, func(record map[string]any) bool { record["user"] = "eve"; return true })
		return fmt.Sprint("line ", i+1)
	},
	"a record is removed and all hashes are computed again": func(t *testing.T, r *rand.Rand, dir, file string) string {
		i := r.IntN(len(linesOf(t, dir, file)))
		rewrite(t, dir, file, i, func(map[string]any) bool { return false })
		return fmt.Sprint("line ", i+1)
	},
	"the head is removed": func(t *testing.T, _ *rand.Rand, dir, _ string) string {
		if err := os.Remove(filepath.Join(dir, headFile)); err != nil {
			t.Fatal(err)
		}
		return headFile
	},
	"a file is renamed": func(t *testing.T, _ *rand.Rand, dir, file string) string {
		if err := os.Rename(filepath.Join(dir, file), filepath.Join(dir, "audit-000000000777.jsonl")); err != nil {
			t.Fatal(err)
		}
		return file
	},
}

func contents(t *testing.T, dir, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func linesOf(t *testing.T, dir, file string) [][]byte {
	return slices.Collect(bytes.Lines(contents(t, dir, file)))
}

func put(t *testing.T, dir, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// forged returns a line that follows before in the chain.
func forged(t *testing.T, before []byte, r map[string]any) []byte {
	t.Helper()
	var last linked
	if err := json.Unmarshal(before, &last); err != nil {
		t.Fatal(err)
	}
	r["seq"], r["prev"] = last.Seq+1, hashOf(bytes.TrimSuffix(before, []byte("\n")))
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return append(line, '\n')
}

// rewrite changes line i of a file, or removes it if change returns false, and links all
// that follow anew.
func rewrite(t *testing.T, dir, file string, i int, change func(map[string]any) bool) {
	t.Helper()
	files, err := chainFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var before []byte
	begun := false
	for _, name := range files {
		var out []byte
		for n, line := range linesOf(t, dir, name) {
			at := name == file && n == i
			begun = begun || at
			if begun {
				var r map[string]any
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatal(err)
				}
				if at && !change(r) {
					continue
				}
				if before != nil {
					line = forged(t, before, r)
				} else if line, err = json.Marshal(r); err == nil {
					line = append(line, '\n')
				}
			}
			before = line
			out = append(out, line...)
		}
		put(t, dir, name, out)
	}
}

// A host that starts again on a chain that was changed says so in the chain.
func TestAStartTellsThatTheEndWasChanged(t *testing.T) {
	for name, change := range map[string]func(dir, last string){
		"records are missing": func(dir, last string) {
			lines := linesOf(t, dir, last)
			put(t, dir, last, bytes.Join(lines[:len(lines)-1], nil))
		},
		"the head is missing": func(dir, _ string) { _ = os.Remove(filepath.Join(dir, headFile)) },
		"the head is changed": func(dir, _ string) { put(t, dir, headFile, []byte(`{"from":{"seq":1},"to":{"seq":1}}`)) },
		"a record was appended": func(dir, last string) {
			lines := linesOf(t, dir, last)
			put(t, dir, last, append(bytes.Join(lines, nil), forged(t, lines[len(lines)-1], map[string]any{"kind": "session"})...))
		},
		"the last record was changed": func(dir, last string) {
			put(t, dir, last, bytes.Replace(contents(t, dir, last), []byte(`"stage":"checkpoint"`), []byte(`"stage":"checkpoin_"`), 1))
		},
	} {
		dir := written(t)
		files, err := chainFiles(dir)
		if err != nil {
			t.Fatal(err)
		}
		change(dir, files[len(files)-1])
		_, end := opened(t, dir)
		end()
		if about := kept(t, dir, KindAudit); !slices.ContainsFunc(about, func(r map[string]any) bool { return r["stage"] == "damaged" }) {
			t.Errorf("%s: %v", name, about[len(about)-1])
		}
	}
}

// A chain is sound while it is written, wherever the host is killed.
func TestAChainThatIsBeingWrittenIsSound(t *testing.T) {
	dir := t.TempDir()
	trail, _ := opened(t, dir)
	chain := trail.current.Load().chain
	chain.mu.Lock()
	chain.max = 8 << 10
	chain.mu.Unlock()
	if _, err := trail.Begin(t.Context(), &Event{Kind: KindCapability}); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				trail.Note(t.Context(), &Event{Kind: KindSession}, Outcome{})
				if x, err := trail.Begin(t.Context(), &Event{Kind: KindCapability}); err == nil {
					x.End(Outcome{})
				}
			}
		}
	}()
	for range 30 {
		if r, err := Verify(dir, testKey); err != nil || !r.Sound() {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	close(stop)
	<-done
}

func FuzzVerify(f *testing.F) {
	dir := written(f)
	files, err := chainFiles(dir)
	if err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, files[0]))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"seq":18446744073709551615,"stage":"removed","upTo":18446744073709551615}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "audit-000000000001.jsonl"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(dir, testKey); err == nil && r.Sound() {
			t.Errorf("a chain without a head is sound: %+v", r)
		}
		// A host can go on with any of it.
		trail, end := opened(t, dir)
		if x, err := trail.Begin(t.Context(), &Event{Kind: KindCapability}); err != nil {
			t.Error(err)
		} else {
			x.End(Outcome{})
		}
		end()
	})
}

// A checkpoint protects what is before it also without the head.
func TestCheckpointsAreSigned(t *testing.T) {
	dir := written(t)
	files, err := chainFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, dir, files[0], 2, func(r map[string]any) bool { r["user"] = "eve"; return true })
	r, err := Verify(dir, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.Contains(p.Text, "signature of this checkpoint") }) {
		t.Errorf("%v", r.Problems)
	}
	// Without the key the hashes alone count; a record that was noted elsewhere does too.
	if r, err := Verify(dir, nil); err != nil || len(r.Problems) != 1 { // that of the head
		t.Errorf("%+v, %v", r.Problems, err)
	}
	original := sound(t, written(t))
	if r, err := VerifyExpecting(dir, nil, fmt.Sprintf("%d:%s", original.Last, original.Hash)); err != nil || r.Sound() {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := VerifyExpecting(dir, nil, "7"); err == nil {
		t.Error("a record without a hash is accepted")
	}
}

// An export ends with the authority of who asked for it.
func TestAnExportEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := (&Store{Dir: written(t)}).Export(ctx, &Filter{}, func([]byte) error { n++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%v after %d records", err, n)
	}
}
