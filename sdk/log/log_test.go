package log

import (
	"errors"
	"testing"
	"time"
)

func TestPairsAreOneWordEach(t *testing.T) {
	for _, c := range []struct {
		args []any
		want string
	}{
		{nil, "msg"},
		{[]any{"release", "web", "revision", 3, "took", time.Second}, "msg release=web revision=3 took=1s"},
		{[]any{"error", errors.New("not found")}, `msg error="not found"`},
		{[]any{"text", "a\nlevel=ERROR forged"}, `msg text="a\nlevel=ERROR forged"`},
		{[]any{"empty", "", "nil", nil}, `msg empty="" nil=<nil>`},
		{[]any{"a b", "x=y"}, `msg "a b"="x=y"`},
		{[]any{"lonely"}, "msg !BADKEY=lonely"},
		{[]any{7, "k", "v"}, "msg !BADKEY=7 k=v"},
	} {
		if got := format("msg", c.args); got != c.want {
			t.Errorf("%v: got %q, want %q", c.args, got, c.want)
		}
	}
}
