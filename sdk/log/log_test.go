//go:build !wasip1

package log_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/log"
)

// host keeps the records that it gets.
type host struct {
	guest.Host
	records []map[string]any
	text    []string
}

func (h *host) Write(level int32, text string) { h.Record(level, text, abi.AppendAttributes(nil, nil)) }

func (h *host) Record(level int32, text string, attributes []byte) {
	list, err := abi.DecodeAttributes(attributes)
	if err != nil {
		panic(err)
	}
	record := map[string]any{slog.LevelKey: slog.Level(level), slog.MessageKey: text}
	line := fmt.Sprint(level, " ", text)
	for _, p := range list {
		line += fmt.Sprintf(" %s=%q", p.Name, p.Value)
		at, name := record, p.Name
		for group, rest, ok := strings.Cut(name, "."); ok; group, rest, ok = strings.Cut(name, ".") {
			if at[group] == nil {
				at[group] = map[string]any{}
			}
			at, name = at[group].(map[string]any), rest
		}
		at[name] = p.Value
	}
	h.records, h.text = append(h.records, record), append(h.text, line)
}

func install(t *testing.T) *host {
	h := &host{}
	before := guest.Native
	guest.Native = h
	t.Cleanup(func() { guest.Native = before })
	return h
}

func TestAttributesArriveAsSuch(t *testing.T) {
	h := install(t)
	for _, c := range []struct {
		args []any
		want string
	}{
		{nil, "0 msg"},
		{[]any{"release", "web", "revision", 3, "took", time.Second}, `0 msg release="web" revision="3" took="1s"`},
		{[]any{"error", errors.New("not found")}, `0 msg error="not found"`},
		{[]any{"text", "a\nlevel=ERROR forged"}, `0 msg text="a\nlevel=ERROR forged"`},
		{[]any{"empty", "", "nil", nil}, `0 msg empty="" nil="<nil>"`},
		{[]any{"lonely"}, `0 msg !BADKEY="lonely"`},
		{[]any{7, "k", "v"}, `0 msg !BADKEY="7" k="v"`},
	} {
		log.Info("msg", c.args...)
		if got := h.text[len(h.text)-1]; got != c.want {
			t.Errorf("%v: got %s, want %s", c.args, got, c.want)
		}
	}
}

func TestWhatIsTooMuchIsCut(t *testing.T) {
	h := install(t)
	var many []any
	for i := range 100 {
		many = append(many, fmt.Sprint("k", i), "v")
	}
	log.Warn(strings.Repeat("m", 10_000), many...)
	if r := h.records[0]; len(r) != 2+abi.MaxAttributes || len(r[slog.MessageKey].(string)) != 8<<10 {
		t.Errorf("%d attributes", len(r)-2)
	}
	log.Error("m", "a", strings.Repeat("x", 10_000), "b", "y")
	if r := h.records[1]; len(r["a"].(string)) < 8000 || len(r) > 4 {
		t.Errorf("got %d of them, %d bytes", len(r)-2, len(r["a"].(string)))
	}
}

func TestTheHandlerKeepsToTheRulesOfSlog(t *testing.T) {
	h := install(t)
	slogtest.Run(t, func(*testing.T) slog.Handler { return log.NewHandler() }, func(t *testing.T) map[string]any {
		r := h.records[len(h.records)-1]
		if !strings.HasSuffix(t.Name(), "/zero-time") {
			r[slog.TimeKey] = time.Time{} // the host's
		}
		return r
	})
}

func TestAttributesThatAreMalformedAreRefused(t *testing.T) {
	whole := abi.AppendAttributes(nil, []abi.Pair{{Name: "a", Value: "b"}})
	for _, bad := range [][]byte{nil, whole[:len(whole)-1], append(bytes.Clone(whole), 0), {255, 255, 255, 255}, make([]byte, abi.MaxAttributeBytes+1)} {
		if _, err := abi.DecodeAttributes(bad); err == nil {
			t.Errorf("%d bytes were accepted", len(bad))
		}
	}
}
