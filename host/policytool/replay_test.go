package policytool

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/audit"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
)

func diff(t *testing.T, before, after *authz.Policy, over *Over, log []byte) *DiffReport {
	t.Helper()
	r, err := Diff(t.Context(), before, after, over, bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What would this change of data change?
func TestDiffOverAnotherDirectoryListsWhatTheDataChanges(t *testing.T) {
	tools, read := logged(t)
	e := tools.Engine
	get := host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods"}
	for range 2 {
		e.Decide(t.Context(), call(pat, get))
	}
	e.Decide(t.Context(), call(vic, get))
	asserted := call("new@example.com", get)
	asserted.Principal.Unlisted, asserted.Principal.Asserted.Teams = true, []string{"payments"}
	e.Decide(t.Context(), asserted)
	log, shipped := read(), readPolicy(t, "")

	dir := t.TempDir()
	write(t, dir, "people.yaml", strings.Replace(people, "namespaces: [shop]", "namespaces: [bank]", 1))
	next := &Over{openDirectory(t, dir), dir}
	r := diff(t, nil, shipped, next, log)
	if r.Decisions != 4 || r.Changed != 3 || len(r.Changes) != 2 || r.Changes[0].User != string(pat) || r.Changes[0].Count != 2 ||
		r.Changes[0].What != "denies" || r.Changes[0].New != "no_resource" || r.Changes[1].User != "new@example.com" {
		t.Errorf("%+v", r)
	}
	// Both policies over the same directory differ by what they say alone.
	if r := diff(t, shipped, shipped, next, log); r.Changed != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAPolicyThatReadsTheDirectoryIsReplayedOverOneOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "listed"}} if {
	data.directory.users[input.principal.user]
} else := data.bulkhead.default.decision
`)
	tools, read := logged(t)
	e := tools.Engine
	e.Decide(t.Context(), ask(vic, "gitops", "helm.read"))
	log, listed := read(), readPolicy(t, dir)
	for _, before := range []*authz.Policy{nil, listed} {
		if _, err := Diff(t.Context(), before, listed, nil, bytes.NewReader(log)); !errors.Is(err, ErrNoDirectory) {
			t.Errorf("without one: %v", err)
		}
	}
	if r := diff(t, nil, listed, &Over{staff(t), "staff"}, log); r.Changed != 1 || r.Changes[0].New != "listed" {
		t.Errorf("%+v", r)
	}
}

// What was left out of a record is not guessed, and what is made again is not
// missed.
func TestWhatARecordLacksDecidesWhetherItIsReplayed(t *testing.T) {
	tools, read := logged(t)
	e := tools.Engine
	e.Decide(t.Context(), call(vic, host.CapabilityCall{Name: "kube", Verb: "get", Resource: "pods"}))
	var r map[string]any
	if err := json.Unmarshal(read(), &r); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "p.rego", `package bulkhead.authz

decision := {"allow": false, "reason": {"code": "no"}} if {
	input.principal.claims["a/b"] == "c"
} else := data.bulkhead.default.decision
`)
	claims, shipped := readPolicy(t, dir), readPolicy(t, "")
	over := &Over{staff(t), "staff"}
	for _, c := range []struct {
		erased         string
		policy         *authz.Policy
		recorded, over bool // whether it is replayed
	}{
		{"/input/principal/user", shipped, false, false},
		{"/input/principal/name", shipped, true, true},
		{"/input/principal/roles", shipped, false, true},
		{"/input/permissions", shipped, false, true},
		{"/input/break_glass", shipped, false, true},
		{"/input/capability", shipped, false, false},
		{"/input/capability/path", shipped, true, true},
		{"/input/route/method", shipped, true, true},
		{"/input/resource/cluster", shipped, true, false},
		{"/input/principal/claims/a~1b", claims, false, false},
		{"/input/principal/claims/b", claims, true, true},
		{"/custom/asserted", shipped, true, false},
		{"/custom/policy", shipped, true, true},
		{"/result/obligations", shipped, false, false},
		{"", shipped, false, false},
		{"/input", shipped, false, false}, // and it is not there
	} {
		r["erased"] = []string{c.erased}
		if c.erased == "/input" {
			delete(r, "input")
		}
		for _, o := range []*Over{nil, over} {
			want := c.recorded
			if o != nil {
				want = c.over
			}
			record, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			got := diff(t, nil, c.policy, o, record)
			if got.Decisions != 1 || (got.Masked == 0) != want || got.Other != 0 {
				t.Errorf("without %s, over %v: %+v", c.erased, o, got)
			}
		}
	}
}

// plainRecord is one that the shipped policy decides as recorded.
const plainRecord = `{"path":"bulkhead/authz/decision","input":{"principal":{"user":"ann"},"route":{"plugin":"x"}},"result":{"allow":false,"reason":{"code":"no_plugin"}}}`

func zipped(text string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return out.Bytes()
}

func TestALogIsReadInWhateverShape(t *testing.T) {
	shipped := readPolicy(t, "")
	for name, c := range map[string]struct {
		log              []byte
		decisions, other int
		err              string
	}{
		"nothing":             {nil, 0, 0, ""},
		"lines":               {[]byte(plainRecord + "\n" + plainRecord + "\n"), 2, 0, ""},
		"an array":            {[]byte("[" + plainRecord + " , " + plainRecord + "]"), 2, 0, ""},
		"arrays and lines":    {[]byte("[" + plainRecord + "]\n[]" + plainRecord + "[" + plainRecord + "]"), 3, 0, ""},
		"gzipped":             {zipped("[" + plainRecord + "]"), 1, 0, ""},
		"gzipped files":       {append(zipped(plainRecord), zipped(plainRecord)...), 2, 0, ""},
		"something else":      {[]byte(`7 null "x" {} [[` + plainRecord + `]] {"path":"system/main","input":{}}`), 0, 6, ""},
		"no result":           {[]byte(`{"path":"bulkhead/authz/decision","input":{}}`), 0, 1, ""},
		"the host's refusal":  {[]byte(strings.Replace(plainRecord, "no_plugin", authz.LogFull, 1)), 0, 1, ""},
		"cut in a record":     {[]byte(plainRecord + plainRecord[:50]), 1, 1, ""},
		"cut in an array":     {[]byte("[" + plainRecord), 1, 1, ""},
		"cut after a comma":   {[]byte("[" + plainRecord + ","), 1, 1, ""},
		"cut while gzipped":   {slices.Concat(zipped(plainRecord), zipped(plainRecord)[:60]), 1, 1, ""},
		"no JSON":             {[]byte(plainRecord + "\n{x}"), 0, 0, "record 2: invalid"},
		"a bracket too much":  {[]byte(plainRecord + "]"), 0, 0, "record 2: invalid"},
		"an array with a gap": {[]byte("[" + plainRecord + ",,]"), 0, 0, "record 2: invalid"},
		"too long a record":   {[]byte(plainRecord + ` {"x":"` + strings.Repeat("x", maxLine) + `"}`), 0, 0, "record 2: it is over 4 MiB"},
		"too long in an array": {[]byte("[" + plainRecord + `,{"x":"` + strings.Repeat("x", maxLine) + `"}]`),
			0, 0, "record 2: it is over 4 MiB"},
		"long arrays": {[]byte("[" + strings.Repeat(plainRecord+",", 2*maxLine/len(plainRecord)) + plainRecord + "]"),
			2*maxLine/len(plainRecord) + 1, 0, ""},
	} {
		r, err := Diff(t.Context(), nil, shipped, nil, bytes.NewReader(c.log))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), "decision log: "+c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
		case err != nil || r.Decisions != c.decisions || r.Other != c.other || r.Changed != 0:
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// endless is a log that never comes to a record.
type endless struct {
	text string
	read int64
	stop func() // after 2*maxLine bytes
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text)
	if e.read += int64(n); e.read > 2*maxLine {
		e.stop()
	}
	return n, nil
}

func TestALogWithoutEndIsNotReadIntoMemory(t *testing.T) {
	for _, c := range []struct {
		begins, goes string
		want         error
	}{
		{"", " ", errTooLong}, {"[", " ", errTooLong}, {`{"x":"`, " ", errTooLong}, {"", "[]", context.Canceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		log := &endless{text: strings.Repeat(c.goes, 256), stop: cancel}
		_, err := Diff(ctx, nil, readPolicy(t, ""), nil, io.MultiReader(strings.NewReader(c.begins), log))
		if cancel(); !errors.Is(err, c.want) {
			t.Errorf("%q, then %q: %v after %d bytes", c.begins, c.goes, err, log.read)
		}
	}
}

// Outside bytes: whatever they are, the counts add up.
func FuzzDiff(f *testing.F) {
	for _, seed := range [][]byte{
		[]byte(plainRecord), []byte("[" + plainRecord + "," + plainRecord + "]\n{}"), zipped(plainRecord), zipped(plainRecord)[:40],
		[]byte(strings.Replace(plainRecord, "no_plugin", "other", 1)), []byte(plainRecord[:80]), []byte("[[[[ 1e999 }"),
		[]byte(strings.Replace(plainRecord, `"input":{`, `"erased":["/input/principal/user"],"custom":{"asserted":{"roles":["viewer"]},"unlisted":true},"input":{"capability":{"name":"kube","spans":true},`, 1)),
		[]byte(`{"path":"bulkhead/authz/decision","input":{"principal":{"login":{"at":"x"}}},"result":{"allow":1}}`),
	} {
		f.Add(seed)
	}
	shipped, err := authz.ReadPolicy(f.Context(), "")
	if err != nil {
		f.Fatal(err)
	}
	staff := staff(f)
	f.Fuzz(func(t *testing.T, log []byte) {
		for _, over := range []*Over{nil, {staff, "staff"}} {
			r, err := Diff(t.Context(), nil, shipped, over, bytes.NewReader(log))
			if err != nil {
				continue
			}
			told := r.Untold
			for _, c := range r.Changes {
				told += c.Count
			}
			if told != r.Changed || r.Changed+r.Masked > r.Decisions || r.Questions > r.Decisions {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func TestWhatIsToldOfALongLogIsBounded(t *testing.T) {
	var log bytes.Buffer
	for i := range maxChanges + 5 {
		fmt.Fprintf(&log, `{"path":"bulkhead/authz/decision","input":{"principal":{"user":"u%d%s"}},"result":{"allow":true,"reason":{"code":"x"}}}`+"\n",
			i, strings.Repeat("x", maxChangeText))
	}
	r := diff(t, nil, readPolicy(t, ""), nil, log.Bytes())
	if r.Changed != maxChanges+5 || len(r.Changes) != maxChanges || r.Untold != 5 || len(r.Changes[0].User) > maxChangeText+len("…") {
		t.Errorf("%d changed, %d told, %d not", r.Changed, len(r.Changes), r.Untold)
	}
}

// The host's own comparison takes the files that are full, too.
func TestCompareReadsTheFilesThatAreFull(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/decisions.jsonl"
	for name, n := range map[string]int{"decisions.jsonl.3": 100, "decisions.jsonl.2": 4, "decisions.jsonl.1": 2, "decisions.jsonl": 1} {
		write(t, dir, name, strings.Repeat(plainRecord+"\n", n))
	}
	next := t.TempDir()
	write(t, next, "p.rego", freeze)
	d, file := staff(t), &audit.File{Path: path, Keep: 2}
	e, err := authz.Open(t.Context(), authz.Config{Directory: d, Shadow: &authz.Source{Dir: next}, Log: audit.Config{File: file}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	tools := &Tools{Engine: e, Directory: d, Log: file}
	if r, err := tools.Compare(t.Context(), nil); err != nil || r.Decisions != 7 || r.Directory != "" {
		t.Errorf("%+v, %v", r, err)
	}
	// A candidate that reads the directory is asked over the host's.
	write(t, next, "p.rego", strings.Replace(freeze, "input.route.mutates", "not data.directory.users[input.principal.user]", 1))
	await(t, "the next candidate", func() bool { return e.Status().Shadow.Revision == 2 })
	if r, err := tools.Compare(t.Context(), nil); err != nil || r.Changed != 7 || r.Directory != "the host's, revision 1" {
		t.Errorf("%+v, %v", r, err)
	}
}
