package logtest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestALogIsReadWhileItIsWritten(t *testing.T) {
	var l Log
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { fmt.Fprintf(&l, "line %d of a\n", i); _ = l.String() })
	}
	wg.Wait()
	if n := l.Count("line "); n != 8 {
		t.Errorf("%d lines", n)
	}
	if got := l.Take("line 3", "of a"); !slices.Equal(got, []string{"line 3 of a\n"}) || l.String() != "" {
		t.Errorf("took %q, left %q", got, l.String())
	}
	if got := l.Take(); got != nil {
		t.Errorf("an empty log has %q", got)
	}
}
