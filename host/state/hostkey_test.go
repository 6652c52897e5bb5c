package state

import (
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestASealedTextOpensForItsUseAloneAndAfterARestart(t *testing.T) {
	dir := t.TempDir()
	var text string
	t.Run("sealed", func(t *testing.T) {
		var err error
		if text, err = open(t, dir).Seal("test", map[string]int{"a": 1}); err != nil {
			t.Fatal(err)
		}
	})
	s := open(t, dir)
	var v map[string]int
	if err := s.Unseal("test", text, &v); err != nil || v["a"] != 1 {
		t.Errorf("got %v, %v", v, err)
	}
	for name, bad := range map[string]struct{ use, text string }{
		"another use": {"other", text}, "a record's place": {"login/ann", text}, "cut": {"test", text[:len(text)-4]}, "empty": {"test", ""},
		"changed": {"test", strings.Replace(text, text[20:21], map[bool]string{true: "B", false: "A"}[text[20] == 'A'], 1)}, "no base64": {"test", "%"},
	} {
		if err := s.Unseal(bad.use, bad.text, &v); host.KindOf(err) != host.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := open(t, t.TempDir()).Seal("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unseal("test", other, new(int)); host.KindOf(err) != host.Invalid {
		t.Errorf("another host's: %v", err)
	}
}
