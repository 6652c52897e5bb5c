package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state/statetest"
)

func TestMain(m *testing.M) {
	statetest.Member()
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error("close:", err)
		}
	})
	return s
}

func signIn(t testing.TB, s *Store, user host.UserID, id host.LoginID) *host.Principal {
	t.Helper()
	rec, err := s.CreateLogin(t.Context(), record(user, id))
	if err != nil {
		t.Fatal(err)
	}
	return principal(rec)
}

func record(user host.UserID, id host.LoginID) host.LoginRecord {
	now := time.Now()
	return host.LoginRecord{
		ID: id, User: user, Issuer: "dev", Subject: string(user), Method: "dev", Name: "Ann Lee",
		Claims: map[string]any{"groups": []any{"a", "b"}}, At: now, Until: now.Add(time.Hour),
	}
}

func principal(rec host.LoginRecord) *host.Principal {
	return &host.Principal{Issuer: rec.Issuer, Subject: rec.Subject, User: rec.User,
		Login: host.Login{ID: rec.ID, At: rec.At, Until: rec.Until}}
}

func wantLive(t testing.TB, s *Store, p *host.Principal) {
	t.Helper()
	if err := s.Revoked(p); err != nil {
		t.Errorf("login %s of %s: %v, want it live", p.Login.ID, p.User, err)
	}
}

func wantGone(t testing.TB, s *Store, p *host.Principal, cause error) {
	t.Helper()
	if err := s.Revoked(p); !errors.Is(err, cause) {
		t.Errorf("login %s of %s: %v, want %v", p.Login.ID, p.User, err, cause)
	}
}

// eventually waits for what the watch brings.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("never: " + what)
		}
	}
}

func TestFactsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ann := signIn(t, s, "ann@example.com", "ann-1")
	ben := signIn(t, s, "ben@example.com", "ben-1")
	out := signIn(t, s, "ann@example.com", "ann-2")
	if err := s.EndLogin(t.Context(), out.Login.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.EndUserLogins(t.Context(), "ben@example.com"); err != nil {
		t.Fatal(err)
	}
	keys, notBefore, rev := s.Keys(), s.cache.notBefore("ben@example.com"), s.Revision()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	wantLive(t, s, ann)
	wantGone(t, s, ben, host.ErrLoggedOut)
	wantGone(t, s, out, host.ErrLoggedOut)
	rec, ok := s.Login("ann-1")
	if !ok || rec.Name != "Ann Lee" || !rec.Until.Equal(ann.Login.Until) || len(rec.Claims["groups"].([]any)) != 2 {
		t.Errorf("record after the restart: %+v, %v", rec, ok)
	}
	if again := s.Keys(); len(again) != 1 || again[0].ID != keys[0].ID || !again[0].Private.Equal(keys[0].Private) {
		t.Errorf("keys after the restart: %d, want the one from before", len(again))
	}
	if !s.cache.notBefore("ben@example.com").Equal(notBefore) {
		t.Errorf("not-before after the restart: %v, want %v", s.cache.notBefore("ben@example.com"), notBefore)
	}
	if s.Revision() < rev {
		t.Errorf("revision went back from %d to %d", rev, s.Revision())
	}
}

func TestSecondStartOnTheSameDirectoryFailsFastAndNamesIt(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	start := time.Now()
	_, err := Open(t.Context(), Config{Dir: dir})
	if host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), dir+" is in use by another bulkhead") {
		t.Errorf("second open: %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v to notice", d)
	}
}

func TestClosedDirectoryOpensAgainAtOnce(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeepDirectoriesFitIntoASocketPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120), strings.Repeat("e", 60))
	t.Setenv("TMPDIR", "/tmp")
	s := open(t, dir)
	signIn(t, s, "ann", "1")
	endpoint := strings.TrimPrefix(s.client.Endpoints()[0], "unix://")
	info, err := os.Stat(filepath.Dir(endpoint))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket directory: %v, %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(endpoint)); !os.IsNotExist(err) {
		t.Errorf("socket directory after close: %v", err)
	}
}

func TestHostKey(t *testing.T) {
	t.Run("is made once, for its owner only", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir)
		info, err := os.Stat(filepath.Join(dir, "host.key"))
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != hostKeySize {
			t.Errorf("host key: %v, %v", info, err)
		}
	})
	refused := func(name, want string, spoil func(t *testing.T, path string)) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := open(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "host.key")
			spoil(t, path)
			_, err := Open(t.Context(), Config{Dir: dir})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
				t.Errorf("open: %v, want it to name %s and say %q", err, path, want)
			}
		})
	}
	write := func(t *testing.T, path string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused("of another host is refused", "cannot decrypt the state beside it", func(t *testing.T, path string) {
		write(t, path, []byte(strings.Repeat("x", hostKeySize)))
	})
	refused("of a wrong length is refused", "exactly 32 bytes", func(t *testing.T, path string) {
		write(t, path, []byte(strings.Repeat("x", hostKeySize+1)))
	})
	refused("that others can read is refused", "0600", func(t *testing.T, path string) {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	})
	refused("that was lost is not replaced", "is missing", func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLogoutIsVisibleWhenItReturns(t *testing.T) {
	s := open(t, t.TempDir())
	phone, laptop := signIn(t, s, "ann", "phone"), signIn(t, s, "ann", "laptop")
	ben := signIn(t, s, "ben", "ben")
	wantLive(t, s, phone)

	if err := s.EndLogin(t.Context(), "phone"); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, phone, host.ErrLoggedOut)
	wantLive(t, s, laptop)
	if err := s.EndLogin(t.Context(), "phone"); err != nil {
		t.Error("ending it again:", err)
	}

	if err := s.EndUserLogins(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, laptop, host.ErrLoggedOut)
	wantLive(t, s, ben)
	if _, ok := s.Login("laptop"); ok {
		t.Error("an ended login is still found")
	}
	wantLive(t, s, signIn(t, s, "ann", "back"))
}

func TestSignInAfterALogoutWorksThoughTheClockWentBack(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.EndUserLogins(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	rec := record("ann", "1")
	rec.At = rec.At.Add(-30 * time.Minute)
	rec, err := s.CreateLogin(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	wantLive(t, s, principal(rec))
}

func TestLoginEndsAtItsTime(t *testing.T) {
	s := open(t, t.TempDir())
	rec := record("ann", "1")
	rec.At, rec.Until = rec.At.Add(-time.Hour), rec.At.Add(-time.Nanosecond)
	rec, err := s.CreateLogin(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, principal(rec), host.ErrLoginExpired)

	live := signIn(t, s, "ann", "2")
	s.sweepLogins(t.Context(), time.Now())
	wantGone(t, s, principal(rec), host.ErrLoggedOut)
	wantLive(t, s, live)
	resp, err := s.client.Get(t.Context(), s.at.ofLogin(loginKey{"ann", "1"}))
	if err != nil || resp.Count != 0 {
		t.Errorf("swept record: %d left, %v", resp.Count, err)
	}
}

func TestNobodyIsRevoked(t *testing.T) {
	s := open(t, t.TempDir())
	ann := signIn(t, s, "ann", "1")
	stranger := *ann
	stranger.User = "ben"
	unknown := *ann
	unknown.Login.ID = "none"
	for name, p := range map[string]*host.Principal{
		"nil": nil, "zero": {}, "another user's login": &stranger, "an unknown login": &unknown,
	} {
		if err := s.Revoked(p); !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadRecordsAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	for name, spoil := range map[string]func(*host.LoginRecord){
		"no id":       func(r *host.LoginRecord) { r.ID = "" },
		"no user":     func(r *host.LoginRecord) { r.User = "" },
		"no subject":  func(r *host.LoginRecord) { r.Subject = "" },
		"no issuer":   func(r *host.LoginRecord) { r.Issuer = "" },
		"long user":   func(r *host.LoginRecord) { r.User = host.UserID(strings.Repeat("a", maxName+1)) },
		"ends before": func(r *host.LoginRecord) { r.Until = r.At },
		"huge claims": func(r *host.LoginRecord) { r.Claims = map[string]any{"g": strings.Repeat("a", maxRecord)} },
		"odd claims":  func(r *host.LoginRecord) { r.Claims = map[string]any{"f": func() {}} },
	} {
		rec := record("ann", "1")
		spoil(&rec)
		if _, err := s.CreateLogin(t.Context(), rec); host.KindOf(err) != host.Invalid && host.KindOf(err) != host.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOldestLoginsMakeRoom(t *testing.T) {
	s := open(t, t.TempDir())
	first := signIn(t, s, "ann", "first")
	second := signIn(t, s, "ann", "second")
	for i := range maxLogins - 1 {
		signIn(t, s, "ann", host.LoginID(fmt.Sprint(i)))
	}
	wantGone(t, s, first, host.ErrLoggedOut)
	wantLive(t, s, second)
}

func TestEveryEndIsAnnounced(t *testing.T) {
	s := open(t, t.TempDir())
	var mu sync.Mutex
	ended := make(map[host.LoginID]host.UserID)
	s.OnEnding(func(e host.Ending) {
		mu.Lock()
		defer mu.Unlock()
		ended[e.Login] = e.User
	})
	told := func(id host.LoginID) bool {
		mu.Lock()
		defer mu.Unlock()
		return ended[id] == "ann"
	}
	for _, id := range []host.LoginID{"one", "all", "elsewhere"} {
		signIn(t, s, "ann", id)
	}
	if err := s.EndLogin(t.Context(), "one"); err != nil || !told("one") {
		t.Errorf("EndLogin: %v, announced %v", err, told("one"))
	}
	if _, err := s.client.Delete(t.Context(), s.at.ofLogin(loginKey{"ann", "elsewhere"})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion by another replica is announced", func() bool { return told("elsewhere") })
	if told("all") {
		t.Error("a live login was announced as ended")
	}
	if err := s.EndUserLogins(t.Context(), "ann"); err != nil || !told("all") {
		t.Errorf("EndUserLogins: %v, announced %v", err, told("all"))
	}
}

func TestConcurrentLoginsAndLogouts(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 8 {
		user := host.UserID(fmt.Sprint("user-", w%3))
		wg.Go(func() {
			for i := range 20 {
				rec, err := s.CreateLogin(ctx, record(user, host.LoginID(fmt.Sprint(w, "-", i))))
				if err != nil {
					t.Error(err)
					return
				}
				p := principal(rec)
				if i%7 == 6 {
					err = s.EndUserLogins(ctx, user)
				} else {
					err = s.EndLogin(ctx, rec.ID)
				}
				if err != nil {
					t.Error(err)
				}
				wantGone(t, s, p, host.ErrLoggedOut)
			}
		})
	}
	wg.Wait()
}

func TestRevokedDoesNotAllocate(t *testing.T) {
	s := open(t, t.TempDir())
	p := signIn(t, s, "ann", "1")
	if n := testing.AllocsPerRun(100, func() { _ = s.Revoked(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if s, err := Open(ctx, Config{Dir: dir}); err == nil {
		t.Error("opened under a cancelled context")
		_ = s.Close()
	}
	open(t, dir) // nothing was left behind that would hinder the next start
}

func BenchmarkRevoked(b *testing.B) {
	s := open(b, b.TempDir())
	p := signIn(b, s, "ann", "1")
	for b.Loop() {
		if err := s.Revoked(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignInAndOut(b *testing.B) {
	s := open(b, b.TempDir())
	i := 0
	for b.Loop() {
		i++
		p := signIn(b, s, "ann", host.LoginID(fmt.Sprint(i)))
		if err := s.EndLogin(b.Context(), p.Login.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func TestStoreListensOnNoTCPPort(t *testing.T) {
	m, err := startMember(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if len(m.etcd.Peers) != 0 || len(m.etcd.Clients) != 1 || m.etcd.Clients[0].Addr().Network() != "unix" {
		t.Errorf("%d peer and %d client listeners, the first on %v", len(m.etcd.Peers), len(m.etcd.Clients), m.etcd.Clients[0].Addr())
	}
}
