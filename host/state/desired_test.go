package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

func want(t testing.TB, s *Store, d Desired, expect int64) Desired {
	t.Helper()
	d, err := s.PutDesired(t.Context(), d, expect)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func names(s *Store) string {
	list, _ := s.Desired()
	var out []string
	for _, d := range list {
		out = append(out, d.Name+string(d.Spec))
	}
	return strings.Join(out, " ")
}

// until waits for what the watch brings.
func until(t testing.TB, s *Store, want string) {
	t.Helper()
	bound := time.After(20 * time.Second)
	for {
		_, changed := s.Desired()
		got := names(s)
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-bound:
			t.Fatalf("desired is %q, want %q", got, want)
		}
	}
}

func pair(t testing.TB) (a, b *Store) {
	t.Helper()
	cluster, key := statetest.Start(t, 1), statetest.Key(t)
	return openOn(t, cluster.Endpoints, key), openOn(t, cluster.Endpoints, key)
}

func openOn(t testing.TB, endpoints []string, key string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Dir: t.TempDir(), Options: Options{Endpoints: endpoints, KeyFile: key}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestWhatOneReplicaWantsAllKnow(t *testing.T) {
	a, b := pair(t)
	first := want(t, a, Desired{Name: "echo", Spec: json.RawMessage(`{"n":1}`), By: "ada", Method: "dev"}, 0)
	if got := names(a); got != `echo{"n":1}` {
		t.Errorf("the writer itself knows %q", got)
	}
	until(t, b, `echo{"n":1}`)
	want(t, b, Desired{Name: "echo", Spec: json.RawMessage(`{"n":2}`)}, first.Revision)
	until(t, a, `echo{"n":2}`)
	list, _ := a.Desired()
	if err := a.RemoveDesired(t.Context(), "echo", list[0].Revision); err != nil {
		t.Fatal(err)
	}
	if got := names(a); got != "" {
		t.Errorf("after the removal the writer knows %q", got)
	}
	until(t, b, "")
	want(t, b, Desired{Name: "echo", Spec: json.RawMessage(`{"n":3}`)}, 0)
	until(t, a, `echo{"n":3}`)
}

// A replica that starts, and one that has to load everything anew, know what is
// desired, and not what no longer is.
func TestDesiredStateSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	want(t, s, Desired{Name: "a", Spec: json.RawMessage(`1`)}, 0)
	gone := want(t, s, Desired{Name: "b", Spec: json.RawMessage(`2`)}, 0)
	if err := s.RemoveDesired(t.Context(), "b", gone.Revision); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := names(s); got != "a1" {
		t.Errorf("after a restart: %q", got)
	}
	if _, err := s.client.Delete(t.Context(), s.at.want+"a"); err != nil {
		t.Fatal(err)
	}
	until(t, s, "")
}

func TestTwoWritersDoNotOverwriteEachOther(t *testing.T) {
	a, b := pair(t)
	first := want(t, a, Desired{Name: "echo", Spec: json.RawMessage(`1`), By: "ada@example.com", Method: "oidc:corp"}, 0)
	second := want(t, b, Desired{Name: "echo", Spec: json.RawMessage(`2`), By: "ben@example.com", Method: "operator"}, first.Revision)
	for name, try := range map[string]func() error{
		"a change": func() error {
			_, err := a.PutDesired(t.Context(), Desired{Name: "echo", Spec: json.RawMessage(`3`)}, first.Revision)
			return err
		},
		"an installation": func() error {
			_, err := a.PutDesired(t.Context(), Desired{Name: "echo", Spec: json.RawMessage(`3`)}, 0)
			return err
		},
		"a removal": func() error { return a.RemoveDesired(t.Context(), "echo", first.Revision) },
	} {
		err := try()
		if host.KindOf(err) != host.Conflict {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range []string{"ben@example.com", "operator", second.At.UTC().Format(time.RFC3339), fmt.Sprint(second.Revision)} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
	}
	if err := a.RemoveDesired(t.Context(), "absent", 0); host.KindOf(err) != host.NotFound {
		t.Errorf("removing what is not there: %v", err)
	}
	if _, err := a.PutDesired(t.Context(), Desired{Name: "absent", Spec: json.RawMessage(`1`)}, 7); host.KindOf(err) != host.Conflict {
		t.Errorf("changing what is not there: %v", err)
	}
	until(t, a, "echo2")
}

func TestADescriptionIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	for name, d := range map[string]Desired{
		"no name":    {Spec: json.RawMessage(`1`)},
		"a path":     {Name: "a/b", Spec: json.RawMessage(`1`)},
		"no JSON":    {Name: "a", Spec: json.RawMessage(`{`)},
		"too long":   {Name: "a", Spec: json.RawMessage(`"` + strings.Repeat("x", maxSpec) + `"`)},
		"no uploads": {Name: "a", Spec: json.RawMessage(`1`), Uploads: []string{"sha256:absent"}},
		"too many":   {Name: "a", Spec: json.RawMessage(`1`), Uploads: make([]string, maxDesiredRefs+1)},
	} {
		if _, err := s.PutDesired(t.Context(), d, 0); err == nil || host.KindOf(err) == host.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := names(s); got != "" {
		t.Errorf("desired is %q", got)
	}
}

// A record that another than a host wrote, or that was copied from another name,
// neither runs nor stops anything.
func TestAForgedDescriptionChangesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	want(t, s, Desired{Name: "a", Spec: json.RawMessage(`1`)}, 0)
	genuine := get(t, s, s.at.want+"a")
	for place, value := range map[string]string{"a": "nonsense", "b": genuine, "c": "{}"} {
		if _, err := s.client.Put(t.Context(), s.at.want+place, value); err != nil {
			t.Fatal(err)
		}
	}
	want(t, s, Desired{Name: "z", Spec: json.RawMessage(`2`)}, 0)
	last := want(t, s, Desired{Name: "zz", Spec: json.RawMessage(`3`)}, 0)
	for s.Revision() < last.Revision { // the watch has brought them all by then
		_, changed := s.Desired()
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		}
	}
	if got := names(s); got != "a1 z2 zz3" {
		t.Errorf("desired is %q", got)
	}
}

func module(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

func upload(t testing.TB, s *Store, content []byte) Upload {
	t.Helper()
	u, err := s.Upload(t.Context(), bytes.NewReader(content), int64(len(content)), 0, "ada")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAnUploadIsReadByEveryReplica(t *testing.T) {
	a, b := pair(t)
	content := module(chunkBytes + chunkBytes/2)
	u := upload(t, a, content)
	got, err := b.ReadUpload(t.Context(), u.Digest, MaxUpload)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	again := upload(t, b, content)
	if again.Digest != u.Digest || count(t, a, a.at.chunks) != 2 {
		t.Errorf("the same content twice: %v, %d chunks", again, count(t, a, a.at.chunks))
	}
	if _, err := b.ReadUpload(t.Context(), u.Digest, 10); host.KindOf(err) != host.TooLarge {
		t.Errorf("over the reader's limit: %v", err)
	}
}

func TestUploadsAreBoundedAndLeaveNothing(t *testing.T) {
	s := open(t, t.TempDir())
	for name, c := range map[string]struct {
		content     []byte
		bytes, most int64
		kind        host.Kind
	}{
		"announced as too long": {nil, MaxUpload + 1, 0, host.TooLarge},
		"too long":              {module(3000), 0, 2999, host.TooLarge},
		"longer than announced": {module(3000), 2999, 0, host.Invalid},
		"empty":                 {nil, 0, 0, host.Invalid},
		"over the total":        {nil, 1, 0, host.Limited},
	} {
		if name == "over the total" {
			fill := func(x *index) (bool, error) {
				x.Writing = map[string]reserved{"other": {maxUploads, time.Now()}}
				return true, nil
			}
			if err := s.changeIndex(t.Context(), fill); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Upload(t.Context(), bytes.NewReader(c.content), c.bytes, c.most, "ada")
		if host.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
		drop := func(x *index) (bool, error) { delete(x.Writing, "other"); return true, nil }
		if err := s.changeIndex(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
	}
	x, err := s.readIndex(t.Context())
	if err != nil || len(x.Writing)+len(x.Whole) != 0 || count(t, s, s.at.chunks) != 0 {
		t.Errorf("left: %+v, %d chunks, %v", x, count(t, s, s.at.chunks), err)
	}
}

func TestADamagedUploadIsNotRead(t *testing.T) {
	s := open(t, t.TempDir())
	content := module(chunkBytes + 10)
	u := upload(t, s, content)
	x, err := s.readIndex(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := x.Whole[u.Digest].ID
	place := s.at.chunk(id, 1)
	good := get(t, s, place)
	for name, bad := range map[string]string{
		"flipped":                           good[:20] + string(good[20]^1) + good[21:],
		"another's chunk":                   get(t, s, s.at.chunk(id, 0)),
		"sealed here, with another content": string(s.seal.aead.Seal(nil, nil, module(10), []byte(place))),
		"sealed here, empty":                string(s.seal.aead.Seal(nil, nil, nil, []byte(place))),
	} {
		if _, err := s.client.Put(t.Context(), place, bad); err != nil {
			t.Fatal(err)
		}
		if got, err := s.ReadUpload(t.Context(), u.Digest, MaxUpload); err == nil {
			t.Errorf("%s: %d bytes are read", name, len(got))
		}
	}
	if _, err := s.client.Delete(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadUpload(t.Context(), u.Digest, MaxUpload); host.KindOf(err) != host.NotFound {
		t.Errorf("without its chunk: %v", err)
	}
}

func TestUploadsThatNothingNeedsAreCollected(t *testing.T) {
	s := open(t, t.TempDir())
	used, unused := upload(t, s, module(1000)), upload(t, s, module(2000))
	d := want(t, s, Desired{Name: "echo", Spec: json.RawMessage(`1`), Uploads: []string{used.Digest}}, 0)
	if _, err := s.client.Put(t.Context(), s.at.chunk("left", 0), "by a host that died"); err != nil {
		t.Fatal(err)
	}
	there := func() (list string) {
		x, err := s.readIndex(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, u := range map[string]Upload{"used": used, "unused": unused} {
			if _, ok := x.Whole[u.Digest]; ok {
				list = name + " " + list
			}
		}
		return list
	}
	now := time.Now()
	s.sweepUploads(t.Context(), now)
	if got := there(); !strings.Contains(got, "used ") || !strings.Contains(got, "unused ") {
		t.Errorf("a new upload is collected; there are %s", got)
	}
	if n := count(t, s, s.at.chunks); n != 2 {
		t.Errorf("%d chunks, want 2: what the index does not name goes", n)
	}
	s.sweepUploads(t.Context(), now.Add(unusedLife+time.Minute))
	if got := there(); got != "used " {
		t.Errorf("after an hour there are %s", got)
	}
	if err := s.RemoveDesired(t.Context(), "echo", d.Revision); err != nil {
		t.Fatal(err)
	}
	s.sweepUploads(t.Context(), now.Add(unusedLife+time.Minute))
	if got, n := there(), count(t, s, s.at.chunks); got != "" || n != 0 {
		t.Errorf("after the removal there are %s, %d chunks", got, n)
	}
	x, err := s.readIndex(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if live, all := x.held(now.Add(unusedLife + time.Minute)); live != 0 || all != 3000 {
		t.Errorf("%d bytes live, %d held; what is freed counts for an hour", live, all)
	}
}

// The sweeper of a replica that has not heard of a change yet must not take away what
// was just put to use.
func TestPuttingAnUploadToUseKeepsItFromASweeperThatDoesNotKnow(t *testing.T) {
	s := open(t, t.TempDir())
	u := upload(t, s, module(1000))
	later := time.Now().Add(unusedLife + time.Minute)
	x, err := s.readIndex(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x.sweep(nil, later) // decides to remove it
	want(t, s, Desired{Name: "echo", Spec: json.RawMessage(`1`), Uploads: []string{u.Digest}}, 0)
	cmp, op, err := s.writeIndex(x)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := s.swapIndex(t.Context(), cmp, op); done || err != nil {
		t.Errorf("the removal went through: %v", err)
	}
	if _, err := s.ReadUpload(t.Context(), u.Digest, MaxUpload); err != nil {
		t.Error(err)
	}
}

func TestTheFleetIsItsFreshReplicasAndWhatTheyReport(t *testing.T) {
	cluster, key := statetest.Start(t, 1), statetest.Key(t)
	a, b := openOn(t, cluster.Endpoints, key), openOn(t, cluster.Endpoints, key)
	want(t, a, Desired{Name: "echo", Spec: json.RawMessage(`1`)}, 0)
	for i, s := range []*Store{a, b} {
		if err := s.Report(json.RawMessage(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	view := func() (text string) {
		f, err := a.Fleet(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Replicas {
			name := map[string]string{a.Replica(): "a", b.Replica(): "b"}[r.ID]
			text += fmt.Sprintf("%s fresh=%v %s; ", name, r.Fresh, r.Report)
		}
		if len(f.Desired) != 1 {
			t.Errorf("desired: %v", f.Desired)
		}
		return text
	}
	see := func(parts ...string) {
		t.Helper()
		bound := time.After(30 * time.Second)
		for {
			got, ok := view(), true
			for _, p := range parts {
				ok = ok && strings.Contains(got, p)
			}
			if ok {
				return
			}
			select {
			case <-bound:
				t.Fatalf("the fleet is %q, want %q", got, parts)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	see("a fresh=true 0;", "b fresh=true 1;")
	if err := b.Report(json.RawMessage(`"new"`)); err != nil {
		t.Fatal(err)
	}
	see(`b fresh=true "new";`)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	see("a fresh=true 0;", "b fresh=false ;")
	if err := a.Report(json.RawMessage(strings.Repeat("x", maxReport+1))); err == nil {
		t.Error("a report without bound is taken")
	}
	if _, err := a.client.Put(t.Context(), a.at.run+a.Replica(), "forged", clientv3.WithIgnoreLease()); err != nil {
		t.Fatal(err)
	}
	see("a fresh=true ;")
}
