package directory

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// oncall are roles and a team with temporary members.
const oncall = shipped + `---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: oncall}
spec: {permissions: {actions: ["gitops:*"]}}
---
apiVersion: bulkhead.internal/v1
kind: Role
metadata: {name: glass}
spec: {breakGlass: {}, permissions: {actions: ["gitops:*"]}}
`

func in(key, id string, until time.Time) map[string]any {
	return map[string]any{key: id, "until": until.Format(time.RFC3339Nano)}
}

func openAt(t *testing.T, ctx context.Context, now func() time.Time, sources ...Source) *Directory {
	t.Helper()
	d, err := open(ctx, Config{Kinds: kinds, Base: []byte(oncall), Clusters: sources}, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func version(d *Directory, id host.UserID) string {
	return string(d.AppendVersion(nil, &host.Principal{User: id}))
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAMembershipEndsAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		// At no multiple of lookEvery.
		at := func(d time.Duration) time.Time { return begun.Add(d + time.Second) }
		dev := newHeld("dev")
		dev.put("Team", "a", "sre", map[string]any{"id": "sre", "permissions": map[string]any{"actions": []any{"gitops:*"}}})
		dev.put("User", "a", "ann", user("ann", "viewer", in("name", "oncall", at(7*time.Minute)), in("name", "glass", at(9*time.Minute))))
		dev.objects["Useraann"].Content["spec"].(map[string]any)["teams"] = []any{in("id", "sre", at(8*time.Minute))}
		dev.put("User", "a", "ben", user("ben", "viewer", "oncall"))
		d := openAt(t, t.Context(), time.Now, dev)
		holds := func() string {
			q := route("ann", "gitops", "helm.upgrade")
			m := d.Match(q)
			p, _ := d.Person("ann")
			if !slices.Equal(p.Roles, m.Roles) || !slices.Equal(p.Teams, m.Teams) {
				t.Errorf("ann is %+v, but is matched as %v, %v", p, m.Roles, m.Teams)
			}
			facts, revision := d.Facts()
			if ann := facts["users"].(map[string]any)["ann"].(map[string]any); revision != d.Revision() || len(ann["roles"].([]any)) != len(p.Roles) {
				t.Errorf("revision %d of the facts, of %d: %v", revision, d.Revision(), ann)
			}
			s := strings.Join(slices.Concat(m.Roles, m.Teams), " ")
			if len(m.BreakGlass) > 0 {
				s += " (glass)"
			}
			return s
		}
		ann, ben := version(d, "ann"), version(d, "ben")
		for i, want := range []string{"oncall viewer sre (glass)", "viewer sre (glass)", "viewer (glass)", "viewer"} {
			if got := holds(); got != want {
				t.Fatalf("after %v ann holds %q, want %q", time.Since(begun), got, want)
			}
			if i == 3 {
				break
			}
			changed, next := d.Changed(), at(time.Duration(7+i)*time.Minute)
			time.Sleep(time.Until(next) - 1)
			synctest.Wait()
			if got := holds(); got != want || closed(changed) || d.Revision() != uint64(i+1) {
				t.Fatalf("just before %v ann holds %q, revision %d", next, got, d.Revision())
			}
			time.Sleep(1)
			synctest.Wait()
			if !closed(changed) || d.Revision() != uint64(i+2) {
				t.Fatalf("at %v the revision is %d", next, d.Revision())
			}
			if v := version(d, "ann"); v == ann {
				t.Error("ann's version stays")
			} else {
				ann = v
			}
		}
		if version(d, "ben") != ben {
			t.Error("ben's version changed, who has no end")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if d.Revision() != 4 {
			t.Errorf("revision %d once nothing is left to end", d.Revision())
		}
		if d.Degraded() != nil {
			t.Errorf("what has ended is a problem: %v", d.Degraded())
		}
	})
}

func TestAJumpOfTheClockIsDetected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		dev := newHeld("dev")
		dev.put("User", "a", "ann", user("ann", in("name", "oncall", now().Add(time.Hour)), in("name", "viewer", now().Add(3*time.Hour))))
		d := openAt(t, t.Context(), now, dev)
		for _, c := range []struct {
			jump  time.Duration
			roles []string
		}{
			{30 * time.Minute, []string{"oncall", "viewer"}},
			{2 * time.Hour, []string{"viewer"}},
			{0, []string{"oncall", "viewer"}}, // it was the clock that was wrong
			{1000 * time.Hour, nil},
		} {
			ahead.Store(int64(c.jump))
			time.Sleep(lookEvery)
			synctest.Wait()
			if p, _ := d.Person("ann"); !slices.Equal(p.Roles, c.roles) {
				t.Errorf("%v ahead: %v", c.jump, p.Roles)
			}
		}
		if d.Revision() != 4 {
			t.Errorf("revision %d", d.Revision())
		}
	})
}

func TestAMembershipEndsWhileFilesCannotBeListed(t *testing.T) {
	var ahead time.Duration
	now := func() time.Time { return time.Now().Add(ahead) }
	f := newFiles(t, map[string]string{"people.yaml": head + "kind: User\nmetadata: {name: ann}\nspec: {id: ann, roles: [viewer, {name: oncall, until: " +
		now().Add(time.Hour).Format(time.RFC3339) + "}]}\n"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the test reloads by hand
	d, err := open(ctx, Config{Kinds: kinds, Dir: f.dir, Base: []byte(oncall)}, now)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.done.Wait()
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ahead    time.Duration
		revision uint64
		roles    []string
	}{{0, 1, []string{"oncall", "viewer"}}, {time.Hour, 2, []string{"viewer"}}, {2 * time.Hour, 2, []string{"viewer"}}} {
		ahead = c.ahead
		_ = d.reload()
		if p, _ := d.Person("ann"); !slices.Equal(p.Roles, c.roles) || d.Revision() != c.revision {
			t.Errorf("after %v: %v, revision %d", c.ahead, p.Roles, d.Revision())
		}
	}
}

func TestAMalformedUntilLeavesOutTheMembershipOnly(t *testing.T) {
	for item, problem := range map[string]string{
		"{name: oncall, until: tomorrow}":               `spec.roles[1].until "tomorrow" must be a time`,
		"{name: oncall, until: 2126-12-01}":             "spec.roles[1].until",
		"{name: oncall, until: 2126-12-01 18:00:00Z}":   "spec.roles[1].until",
		"{name: oncall, until: '2126-12-01T18:00:00'}":  "spec.roles[1].until", // no zone
		"{name: oncall, until: '0001-01-01T00:00:00Z'}": "spec.roles[1].until", // would be no limit
		"{name: oncall, until: ''}":                     "spec.roles[1].until",
		"{name: oncall, until: }":                       "spec.roles[1].until",
		"{name: oncall, until: 4000000000}":             "spec.roles[1].until",
		"{name: oncall, until: [2126-12-01T18:00:00Z]}": "spec.roles[1].until",
		"{name: oncall, untill: 2126-12-01T18:00:00Z}":  `"untill"`,
		"{name: oncall}":                                "spec.roles[1].until is missing",
		"{until: 2126-12-01T18:00:00Z}":                 "spec.roles[1].name is missing",
		"{id: oncall, until: 2126-12-01T18:00:00Z}":     `"id"; the keys are name, until`,
		"{name: '', until: 2126-12-01T18:00:00Z}":       "spec.roles[1].name is empty",
		"{name: 7, until: 2126-12-01T18:00:00Z}":        "spec.roles[1].name is not a string",
		"''":                                            "spec.roles[1] is empty",
		"[a]":                                           "spec.roles[1] is not a string",
	} {
		s := loadOver(oncall, head+"kind: User\nmetadata: {name: ann}\nspec:\n  id: ann\n  roles:\n    - viewer\n    - "+item+"\n    - glass\n", time.Now())
		p := s.people["ann"]
		if p == nil || !slices.Equal(p.Roles, []string{"viewer"}) || len(p.sets) != 3 {
			t.Errorf("%s: ann is %+v", item, p)
		}
		if len(s.problems) != 1 || s.problems[0].Line != 8 || s.problems[0].ID != "ann" || !strings.Contains(s.problems[0].Text, problem) {
			t.Errorf("%s: problems are %v, want %q", item, s.problems, problem)
		}
	}
}

// loadOver is load with a base and a time of the test.
func loadOver(base, text string, now time.Time) *snapshot {
	d := &Directory{}
	if err := d.loadBase([]byte(base)); err != nil {
		panic(err)
	}
	return build(nil, d.base, []*parsed{parse("f.yaml", []byte(text), d.shipped)}, now)
}

func TestOfARepeatedMembershipTheLongestCounts(t *testing.T) {
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	const early, late = "{name: oncall, until: 2026-12-01T12:00:00+01:00}", `{name: oncall, until: "2026-12-01T11:00:00.5-02:00"}`
	for list, until := range map[string]time.Time{
		"oncall, " + early: {}, early + ", oncall": {}, early + ", oncall, " + late: {},
		early + ", " + late: noon.Add(time.Hour + 500*time.Millisecond), late + ", " + early: noon.Add(time.Hour + 500*time.Millisecond),
	} {
		s := loadOver(oncall, head+"kind: User\nmetadata: {name: ann}\nspec: {id: ann, roles: ["+list+"]}\n", noon)
		p := s.people["ann"]
		if !slices.Equal(p.Roles, []string{"oncall"}) || len(p.ended) > 0 || !p.until[s.roles["oncall"]].Equal(until) || !s.until.Equal(until) || !s.from.IsZero() {
			t.Errorf("%s: ann is %+v, the snapshot is right from %v until %v", list, p, s.from, s.until)
		}
	}
}

func TestAnEndedMembershipIsNotAProblem(t *testing.T) {
	f := newFiles(t, map[string]string{"people.yaml": head + `kind: User
metadata: {name: ann}
spec:
  id: ann
  roles: [viewer, {name: oncall, until: 2020-01-01T00:00:00Z}, {name: removed, until: 2020-01-01T00:00:00Z}]
  teams: [{id: payments@example.com, until: 2126-01-01T00:00:00+02:00}]
`, "other.yaml": people})
	d, err := Open(t.Context(), Config{Kinds: kinds, Dir: f.dir, Base: []byte(oncall)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := problems(d); len(got) > 0 {
		t.Errorf("problems: %q", got)
	}
	var listed []string
	q := route("ann", "gitops", "helm.upgrade")
	tell := func() {
		listed = nil
		for _, c := range d.Consider(q) {
			line := append([]string{c.From.ID}, c.Misses...)
			if !c.Until.IsZero() {
				line = append(line, c.Until.Format(time.RFC3339))
			}
			listed = append(listed, strings.Join(line, " "))
		}
	}
	tell()
	want := []string{"viewer action", "viewer", "payments@example.com plugin 2125-12-31T22:00:00Z", "payments@example.com 2125-12-31T22:00:00Z", "oncall time 2020-01-01T00:00:00Z"}
	if !slices.Equal(listed, want) {
		t.Errorf("listed %q\nwant %q", listed, want)
	}
	// Asserted memberships do not end.
	q.Principal.Asserted = host.Membership{Roles: []string{"oncall"}, Teams: []string{"payments@example.com"}}
	tell()
	want = []string{"viewer action", "viewer", "payments@example.com plugin", "payments@example.com", "oncall"}
	if !slices.Equal(listed, want) {
		t.Errorf("asserted: listed %q\nwant %q", listed, want)
	}
	if p, _ := d.PersonOf(q.Principal); !slices.Equal(p.Roles, []string{"oncall", "viewer"}) {
		t.Errorf("asserted: %+v", p)
	}
	r, err := Check(f.dir, []byte(oncall))
	if err != nil {
		t.Fatal(err)
	}
	limits := []Limit{
		{"ann", "role oncall", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{"ann", "team payments@example.com", time.Date(2125, 12, 31, 22, 0, 0, 0, time.UTC), false},
	}
	if len(r.Problems) > 0 || !slices.Equal(r.Limits, limits) {
		t.Errorf("the report is %+v", r)
	}
}

func TestAChangedUntilChangesTheVersion(t *testing.T) {
	text := func(until string) *parsed {
		return parse("f.yaml", []byte(head+"kind: User\nmetadata: {name: ann}\nspec: {id: ann, roles: [{name: oncall, until: "+until+"}]}\n"), nil)
	}
	d := &Directory{}
	if err := d.loadBase([]byte(oncall)); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first := build(nil, d.base, []*parsed{text("2026-01-02T00:00:00Z")}, now)
	same := build(first, d.base, []*parsed{text("2026-01-02T01:00:00+01:00")}, now)
	other := build(same, d.base, []*parsed{text("2026-01-03T00:00:00Z")}, now)
	if first.people["ann"] != same.people["ann"] || same.people["ann"] == other.people["ann"] {
		t.Error("people are not compared by when they end")
	}
}

func TestSchemasAndTheReaderKnowTheSameKeysOfMemberships(t *testing.T) {
	for list, key := range map[string]string{"roles": "name", "teams": "id"} {
		p := parse("x.yaml", []byte(head+"kind: User\nmetadata: {name: x}\nspec: {id: x, "+list+": [{nosuchkey: 1}]}\n"), nil)
		if _, known, _ := strings.Cut(p.problems[0].Text, "the keys are "); known != key+", until" {
			t.Errorf("%s: the reader knows %q", list, known)
		}
		if !bytes.Contains(CRDs(), []byte("required: ["+key+", until]")) {
			t.Errorf("%s: the schema asks for other keys", list)
		}
	}
}
