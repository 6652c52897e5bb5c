package source

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// place is where bundles come from, in the hands of somebody who has all old ones.
type place struct {
	t       *testing.T
	private string
	text    atomic.Pointer[[]byte]
	keep    string
	bundle  Bundle
}

func newPlace(t *testing.T) *place {
	private, public := keyPair(t)
	p := &place{t: t, private: private, keep: t.TempDir()}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if text := p.text.Load(); text != nil {
			_, _ = w.Write(*text)
		} else {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	p.bundle = Bundle{Location: artifact.Location{URL: srv.URL}, Keys: []Key{{ID: "ops", File: public}}}
	return p
}

func (p *place) make(rule string, s Stamp) []byte {
	p.t.Helper()
	var out bytes.Buffer
	c := newContent("", "", []Module{{"site.rego", []byte(rego + rule + "\n")}}, nil)
	if err := Pack(&out, c, "", &Signing{KeyFile: p.private, KeyID: "ops", Stamp: s}); err != nil {
		p.t.Fatal(err)
	}
	return out.Bytes()
}

// offer puts a bundle there and has a host load and publish it.
func (p *place) offer(s Source, text []byte) error {
	p.t.Helper()
	p.text.Store(&text)
	c, err := s.Load(p.t.Context())
	if err == nil {
		err = s.Publish(c)
	}
	return err
}

func TestAnOldBundleCannotBePassedOffAsNew(t *testing.T) {
	p := newPlace(t)
	one, two, twoAgain := p.make("a := 1", Stamp{Serial: 1}), p.make("a := 2", Stamp{Serial: 2}), p.make("a := 3", Stamp{Serial: 2})
	none, three := p.make("a := 1", Stamp{}), p.make("a := 1", Stamp{Serial: 3})
	running := open(t, p.bundle, p.keep)
	if err := errors.Join(p.offer(running, none), p.offer(running, one), p.offer(running, two), p.offer(running, two)); err != nil {
		t.Fatal(err)
	}
	// The host that runs, and one that starts again beside its copy.
	for name, s := range map[string]Source{"running": running, "started": open(t, p.bundle, p.keep)} {
		for want, text := range map[string][]byte{
			"its serial 1 is below 2": one, "it has no serial, and one with the serial 2": none, "its serial 2 is that of another bundle": twoAgain,
		} {
			if err := p.offer(s, text); err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, artifact.ErrUnreachable) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		if err := p.offer(s, two); err != nil {
			t.Errorf("%s, the same: %v", name, err)
		}
	}
	if err := p.offer(running, three); err != nil {
		t.Errorf("back to the first, signed anew: %v", err)
	}
	// The copy on disk is held to it, too: somebody may have put an old one there.
	kept, _ := filepath.Glob(filepath.Join(p.keep, "*.tar.gz"))
	p.text.Store(nil)
	if _, err := open(t, p.bundle, p.keep).Load(t.Context()); len(kept) != 1 || err != nil {
		t.Fatalf("%v, %v", kept, err)
	}
	put(t, kept[0], two)
	if _, err := open(t, p.bundle, p.keep).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "its serial 2 is below 3") {
		t.Errorf("an old copy: %v", err)
	}
	put(t, kept[0]+".serial", []byte("{}"))
	if err := p.offer(open(t, p.bundle, p.keep), three); err == nil || !strings.Contains(err.Error(), kept[0]+".serial: it lacks serial or digest; remove the file") {
		t.Errorf("a memory that is damaged: %v", err)
	}
}

// What could not be used has not replaced anything.
func TestABundleThatWasNotPublishedIsNotRemembered(t *testing.T) {
	p := newPlace(t)
	s := open(t, p.bundle, p.keep)
	if err := p.offer(s, p.make("a := 1", Stamp{Serial: 1})); err != nil {
		t.Fatal(err)
	}
	broken := p.make("a := unknown", Stamp{Serial: 2})
	p.text.Store(&broken)
	if _, err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.offer(s, p.make("a := 1", Stamp{Serial: 1})); err != nil {
		t.Errorf("the one before: %v", err)
	}
	// A serial that cannot be remembered would not hold anything off.
	if err := errors.Join(os.RemoveAll(p.keep), os.WriteFile(p.keep, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := p.offer(s, p.make("a := 3", Stamp{Serial: 3})); err == nil {
		t.Error("a serial that cannot be kept")
	}
}

func TestABundleIsNotTakenAfterItExpired(t *testing.T) {
	p := newPlace(t)
	s := open(t, p.bundle, p.keep)
	if err := p.offer(s, p.make("a := 1", Stamp{Expires: time.Now().Add(time.Hour)})); err != nil {
		t.Fatal(err)
	}
	over := time.Now().Add(-time.Second)
	if err := p.offer(s, p.make("a := 2", Stamp{Expires: over})); err == nil || !strings.Contains(err.Error(), "it expired at "+over.UTC().Format(time.RFC3339)) {
		t.Errorf("got %v", err)
	}
	file := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), p.make("a := 2", Stamp{Expires: over}))
	if _, err := open(t, Bundle{Location: artifact.Location{File: file}, Keys: p.bundle.Keys}, "").Load(t.Context()); err == nil || !strings.Contains(err.Error(), "it expired at") {
		t.Errorf("in a file: %v", err)
	}
}

func TestTheLeastSerialHoldsForAFreshHost(t *testing.T) {
	p := newPlace(t)
	p.bundle.MinSerial = 5
	for serial, ok := range map[uint64]bool{0: false, 4: false, 5: true, 6: true} {
		text := p.make("a := 1", Stamp{Serial: serial})
		err := p.offer(open(t, p.bundle, t.TempDir()), text)
		file := put(t, filepath.Join(t.TempDir(), "b.tar.gz"), text)
		_, err2 := open(t, Bundle{Location: artifact.Location{File: file}, Keys: p.bundle.Keys, MinSerial: 5}, "").Load(t.Context())
		for _, err := range []error{err, err2} {
			if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "below bundle.minSerial, 5") {
				t.Errorf("%d: %v", serial, err)
			}
		}
	}
	for want, b := range map[string]Bundle{
		"policy.bundle.minSerial: requires keys": {Location: artifact.Location{URL: "https://example.com/b"}, Unsigned: true, MinSerial: 1},
		"policy.bundle.minSerial: is over":       {Location: artifact.Location{File: "b"}, Keys: []Key{{ID: "a", File: "a"}}, MinSerial: 1 << 60},
	} {
		if err := config.Check("policy", (&Config{Bundle: &b}).Check); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAStampIsPartOfWhatIsSignedAndReadStrictly(t *testing.T) {
	p := newPlace(t)
	text := p.make("a := 1", Stamp{Serial: 1})
	if err := p.offer(open(t, p.bundle, p.keep), repack(t, text, func(name string, in []byte) []byte {
		return bytes.Replace(in, []byte(`"serial":1`), []byte(`"serial":9`), 1)
	})); err == nil {
		t.Error("a serial that was changed after signing is taken")
	}
	for want, metadata := range map[string]map[string]any{
		"metadata.bulkhead is not an object":     {stampKey: 7},
		`serial "-1" is not a whole number`:      {stampKey: map[string]any{"serial": -1}},
		`serial "1.5" is not a whole number`:     {stampKey: map[string]any{"serial": 1.5}},
		`serial "0" is not a whole number`:       {stampKey: map[string]any{"serial": 0}},
		`expires "soon" is not a time`:           {stampKey: map[string]any{"expires": "soon"}},
		`has an unknown key "expiry"`:            {stampKey: map[string]any{"expiry": "2026-12-01T18:00:00Z"}},
		`serial "9007199254740992" is not a who`: {stampKey: map[string]any{"serial": uint64(1 << 53)}},
	} {
		if s, err := readStamp(metadata); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", want, s, err)
		}
	}
	if s, err := readStamp(map[string]any{"site": 1}); err != nil || s != (Stamp{}) {
		t.Errorf("another's metadata: %+v, %v", s, err)
	}
	// Of what nobody signed it says nothing.
	var out bytes.Buffer
	b := bundle.Bundle{Data: map[string]any{}, Modules: []bundle.ModuleFile{{URL: "a.rego", Path: "a.rego", Raw: []byte(rego)}}}
	b.Manifest.Init()
	b.Manifest.Metadata = Stamp{Serial: 1, Expires: time.Now().Add(-time.Hour)}.metadata()
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	if c, err := Unpack(out.Bytes(), "x"); err != nil || c.Stamp != (Stamp{}) {
		t.Errorf("unsigned: %+v, %v", c, err)
	}
}
