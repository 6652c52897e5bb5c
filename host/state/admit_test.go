package state

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// credential is a login that an ID token bears, which was issued just now and
// is good for longer than its login.
func credential(user host.UserID, id host.LoginID) host.LoginRecord {
	rec := record(user, id)
	rec.Credential = rec.Until.Add(time.Hour)
	return rec
}

func admit(t testing.TB, s *Store, rec host.LoginRecord) *host.Principal {
	t.Helper()
	got, err := s.AdmitLogin(t.Context(), rec)
	if err != nil {
		t.Fatalf("%s: %v", rec.ID, err)
	}
	return principal(got)
}

func wantRefused(t testing.TB, s *Store, rec host.LoginRecord) {
	t.Helper()
	if got, err := s.AdmitLogin(t.Context(), rec); !errors.Is(err, host.ErrLoggedOut) {
		t.Errorf("%s: %+v, %v, want it logged out", rec.ID, got, err)
	}
}

func TestALoggedOutCredentialIsNotAdmittedAgain(t *testing.T) {
	for name, end := range map[string]func(*Store, host.LoginRecord) error{
		"its own logout":    func(s *Store, rec host.LoginRecord) error { return s.EndLogin(t.Context(), rec.ID) },
		"with all sessions": func(s *Store, rec host.LoginRecord) error { return s.EndLoginAndSessions(t.Context(), rec.ID) },
		"the user's":        func(s *Store, rec host.LoginRecord) error { return s.EndUserLogins(t.Context(), rec.User) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			rec := credential("ann", "token")
			for range 2 {
				got, err := s.AdmitLogin(t.Context(), rec)
				if err != nil || got.ID != rec.ID || !got.At.Equal(rec.At) {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			wantLive(t, s, principal(rec))
			if _, err := s.AdmitLogin(t.Context(), func() host.LoginRecord { r := rec; r.User = "ben"; return r }()); !errors.Is(err, host.ErrLoggedOut) {
				t.Errorf("another user under the same id: %v", err)
			}
			if err := end(s, rec); err != nil {
				t.Fatal(err)
			}
			for range 2 { // here, and after a restart
				if got, err := s.AdmitLogin(t.Context(), rec); !errors.Is(err, host.ErrLoggedOut) {
					t.Errorf("%+v, %v", got, err)
				}
				wantGone(t, s, principal(rec), host.ErrLoggedOut)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir)
			}
			later := rec
			later.ID, later.At = "later", time.Now().Add(time.Second)
			if _, err := s.AdmitLogin(t.Context(), later); err != nil {
				t.Errorf("a credential issued afterwards: %v", err)
			}
		})
	}
}

// The record of a logout once had the end of the login in its name, which follows
// from the configuration.
func TestALoggedOutCredentialStaysOutWhateverTheLifetimes(t *testing.T) {
	for name, until := range map[string]time.Duration{"longer": 90 * time.Minute, "shorter": time.Minute} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			rec := credential("ann", "token")
			admit(t, s, rec)
			if err := s.EndLogin(t.Context(), rec.ID); err != nil {
				t.Fatal(err)
			}
			changed := rec
			changed.Until = time.Now().Add(until)
			wantRefused(t, s, changed)
			// When the login's own time is up and swept, the credential's is not.
			s.sweep(t.Context(), rec.Until.Add(2*sweepLag))
			wantRefused(t, s, changed)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			wantRefused(t, s, changed)
			s.sweep(t.Context(), rec.Credential.Add(-time.Second))
			wantRefused(t, s, changed)
			s.sweep(t.Context(), rec.Credential.Add(2*sweepLag))
			if s.cache.loggedOut(loginKey{"ann", "token"}) {
				t.Error("the logout of a credential that expired is remembered for ever")
			}
		})
	}
}

func TestACredentialWithoutAnEndOrOfADeadLoginIsNotAdmitted(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.AdmitLogin(t.Context(), record("ann", "1")); host.KindOf(err) != host.Invalid {
		t.Errorf("without an end: %v", err)
	}
	rec := credential("ann", "2")
	rec.At, rec.Until = rec.At.Add(-2*time.Hour), rec.At.Add(-time.Hour)
	before := s.Revision()
	if _, err := s.AdmitLogin(t.Context(), rec); !errors.Is(err, host.ErrLoginExpired) {
		t.Errorf("of a login whose time is up: %v", err)
	}
	settled(t, s)
	resp, err := s.client.Get(t.Context(), s.at.ofLogin(loginKey{"ann", "2"}))
	if err != nil || resp.Count != 0 {
		t.Errorf("it was stored after revision %d: %v, %v", before, resp, err)
	}
}

// A build that shows a token of its own in each job once shut out the first of
// them for good, and signed the person's browser out.
func TestCredentialsInAnyNumberStayGoodAndEndNobodyElsesLogin(t *testing.T) {
	s := open(t, t.TempDir())
	browser := signIn(t, s, "ann", "browser")
	recs := make([]host.LoginRecord, maxLogins+2)
	for i := range recs {
		recs[i] = credential("ann", host.LoginID(fmt.Sprint("token", i)))
		recs[i].At = recs[i].At.Add(time.Duration(i) * time.Microsecond)
		admit(t, s, recs[i])
	}
	wantLive(t, s, browser)
	wantGone(t, s, principal(recs[0]), host.ErrLoggedOut) // set aside
	if n := len(s.Logins("ann")); n != maxLogins+1 {
		t.Errorf("%d logins at a time", n)
	}
	settled(t, s)
	again := admit(t, s, recs[0])
	wantLive(t, s, again)
	settled(t, s) // what the watch brings of the time before changes nothing
	wantLive(t, s, again)
	if err := s.EndLogin(t.Context(), recs[0].ID); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, s, recs[0])
	// One that is aside when its user logs out everywhere is out, too.
	if err := s.EndUserLogins(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs[:3] {
		wantRefused(t, s, rec)
	}
}

// Who can write to the store cannot bring a credential back while a replica runs
// that knows of its logout.
func TestTheRecordOfALogoutCannotBeTakenBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	rec := credential("ann", "token")
	admit(t, s, rec)
	key, logout := s.at.ofLogin(loginKey{"ann", "token"}), s.at.logoutOf(loginKey{"ann", "token"})
	sealed := get(t, s, key)
	if err := s.EndLogin(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Delete(t.Context(), logout); err != nil {
		t.Fatal(err)
	}
	put(t, s, key, sealed)
	settled(t, s)
	wantGone(t, s, principal(rec), host.ErrLoggedOut)
	wantRefused(t, s, rec)

	// A record that does not open counts as one, and is not swept.
	ben := credential("ben", "token2")
	p := admit(t, s, ben)
	var l told
	s.OnEnding(l.take)
	put(t, s, s.at.logoutOf(loginKey{"ben", "token2"}), "rubbish")
	settled(t, s)
	wantGone(t, s, p, host.ErrLoggedOut)
	if l.count(host.Ending{User: "ben", Login: "token2", Cause: host.ErrLoggedOut}) == 0 {
		t.Error("its sessions do not end")
	}
	s.sweep(t.Context(), ben.Credential.Add(24*time.Hour))
	wantRefused(t, s, ben)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	wantRefused(t, s, ben)
}

// The watch may bring the deletion by which a login was set aside after this
// process has admitted it anew.
func TestALateDeletionEndsNoLoginThatWasAdmittedSince(t *testing.T) {
	s := open(t, t.TempDir())
	rec := credential("ann", "token")
	p := admit(t, s, rec)
	key := s.at.ofLogin(loginKey{"ann", "token"})
	written := entryOf(t, s, key).ModRevision
	s.remove(key, written-1)
	wantLive(t, s, p)
	s.remove(key, written+1)
	wantGone(t, s, p, host.ErrLoggedOut)
}

// A replica may be asked about a credential before it has heard of its logout.
func TestALogoutElsewhereKeepsACredentialOutBeforeItIsHeardOf(t *testing.T) {
	s := open(t, t.TempDir())
	s.stop()
	s.running.Wait()
	rec := credential("ann", "token")
	key := s.at.logoutOf(loginKey{"ann", "token"})
	sealed, err := s.seal.seal(key, logoutRecord{rec.Credential})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, key, sealed)
	wantRefused(t, s, rec)
}
