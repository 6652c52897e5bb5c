package guest

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// recorder is a Host that keeps what was logged and answers take with kept.
type recorder struct {
	absent
	logged []string
	kept   []byte
}

func (r *recorder) Write(_ int32, text string) { r.logged = append(r.logged, text) }
func (r *recorder) Take(buf []byte) int64      { return int64(copy(buf, r.kept)) }

func install(t *testing.T, h Host) {
	before := Native
	Native = h
	t.Cleanup(func() { Native = before })
}

func TestAllocIsBoundedAndReused(t *testing.T) {
	if Alloc(abi.MaxFrame+1) != nil || Alloc(1<<32-1) != nil {
		t.Error("more than a frame was allocated")
	}
	a, b := Alloc(100), Alloc(200)
	if len(a) != 100 || len(b) != 200 || &a[0] != &b[0] {
		t.Error("small frames do not share the buffer")
	}
	if got := Alloc(abi.MaxFrame); len(got) != abi.MaxFrame {
		t.Errorf("got %d bytes for the largest frame", len(got))
	}
}

func TestABadFrameIsAnsweredNamingTheField(t *testing.T) {
	noHost := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "/"})
	for name, c := range map[string]struct {
		entry func([]byte) []byte
		frame []byte
		want  string
	}{
		"handle, empty":        {Handle, nil, "header"},
		"handle, wrong kind":   {Handle, abi.AppendStart(nil, &abi.Start{}), "kind"},
		"handle, no host part": {Handle, noHost, "host section"},
		"session, no host":     {Session, noHost, "host section"},
		"start, wrong kind":    {Start, noHost, "kind"},
	} {
		_, err := abi.DecodeReply(c.entry(c.frame))
		x, ok := errors.AsType[*abi.Error](err)
		if !ok || x.Origin != abi.OriginHost || x.Status != 500 || !strings.Contains(x.Message, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestARouteWithoutHandlerIs404(t *testing.T) {
	frame := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "/", Host: &abi.HostSection{Route: "lost"}})
	for _, entry := range []func([]byte) []byte{Handle, Session} {
		_, err := abi.DecodeReply(entry(frame))
		if x, ok := errors.AsType[*abi.Error](err); !ok || x.Code != abi.CodeNoHandler || x.Status != 404 {
			t.Errorf("got %v", err)
		}
	}
}

func TestReceiveTrustsNoLength(t *testing.T) {
	host := &recorder{kept: []byte("0123456789")}
	install(t, host)
	for _, n := range []int64{-1, -1 << 62, abi.MaxFrame + 1, 11} {
		buf := make([]byte, 4)
		if got, err := Receive(n, &buf); err == nil {
			t.Errorf("length %d gave %q", n, got)
		}
	}
	buf := make([]byte, 4)
	if got, err := Receive(10, &buf); err != nil || string(got) != "0123456789" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := Receive(3, &buf); err != nil || string(got) != "012" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCallRefusesWhatNoFrameHolds(t *testing.T) {
	reached := func([]byte, []byte) int64 { t.Error("the host was called"); return -1 }
	for _, r := range []*abi.Request{
		{Method: "GET", URL: strings.Repeat("a", abi.MaxString+1)},
		{Method: "GET", URL: "kube://dev", Body: make([]byte, abi.MaxBody+1)},
		{Method: "GET", URL: "kube://dev", Header: make([]abi.Pair, abi.MaxHeaders+1)},
	} {
		_, err := Call(reached, r)
		if x, ok := errors.AsType[*abi.Error](err); !ok || x.Status != 413 {
			t.Errorf("got %v", err)
		}
	}
}

func TestALongLogMessageIsCutAtACharacter(t *testing.T) {
	host := &recorder{}
	install(t, host)
	Log(0, "a"+strings.Repeat("ü", MaxLog))
	if got := host.logged[0]; len(got) > MaxLog || len(got) < MaxLog-4 || !utf8.ValidString(got) {
		t.Errorf("%d bytes were logged", len(got))
	}
}
