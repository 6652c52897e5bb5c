package abi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, g := range goldens {
		frame := encode(g.value)
		for n := range frame {
			if _, err := decode(frame[:n]); err == nil {
				t.Errorf("%s cut to %d of %d bytes was accepted", g.name, n, len(frame))
			}
			// The same with a header that agrees with the shorter length.
			if n < headerSize {
				continue
			}
			cut := bytes.Clone(frame[:n])
			binary.LittleEndian.PutUint32(cut[4:], uint32(n))
			if _, err := decode(cut); err == nil {
				t.Errorf("%s cut to %d of %d bytes, header adjusted, was accepted", g.name, n, len(frame))
			}
		}
	}
}

func TestTrailingBytesAreRefused(t *testing.T) {
	for _, g := range goldens {
		frame := append(encode(g.value), 0)
		binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)))
		if _, err := decode(frame); err == nil {
			t.Errorf("%s with a trailing byte was accepted", g.name)
		}
	}
}

// A corrupted frame may still be a frame, but then exactly one value has those
// bytes: what was decoded encodes to them again.
func TestEveryCorruptedByteIsRefusedOrAnotherFrame(t *testing.T) {
	for _, g := range goldens {
		frame := encode(g.value)
		for i := range frame {
			was := frame[i]
			for c := range 256 {
				frame[i] = byte(c)
				checkCanonical(t, frame)
			}
			frame[i] = was
		}
	}
}

func checkCanonical(t *testing.T, frame []byte) {
	t.Helper()
	v, err := decode(frame)
	if err != nil {
		if _, ok := errors.AsType[*FrameError](err); !ok {
			t.Fatalf("error %v is a %T, want *FrameError", err, err)
		}
		return
	}
	if again := encode(v); !bytes.Equal(again, frame) {
		t.Fatalf("% x\ndecodes, but encodes again as\n% x", frame, again)
	}
}

func TestHeaderErrorsNameTheField(t *testing.T) {
	ok := AppendResponse(nil, &Response{Status: 200})
	for _, c := range []struct {
		field string
		spoil func([]byte) []byte
	}{
		{"header", func(b []byte) []byte { return b[:7] }},
		{"version", func(b []byte) []byte { b[0] = 2; return b }},
		{"kind", func(b []byte) []byte { b[1] = byte(KindStart); return b }},
		{"reserved", func(b []byte) []byte { b[3] = 1; return b }},
		{"length", func(b []byte) []byte { return append(b, 0) }},
		{"status", func(b []byte) []byte { b[headerSize] = 0; return b }},
	} {
		_, err := DecodeResponse(c.spoil(bytes.Clone(ok)))
		if e, is := errors.AsType[*FrameError](err); !is || e.Field != c.field {
			t.Errorf("got %v, want an error about %q", err, c.field)
		}
	}
}

func TestStringsBeyondTheLimitAreRefused(t *testing.T) {
	frame := AppendRequest(nil, &Request{Method: "GET", URL: strings.Repeat("a", MaxString+1)})
	if _, err := DecodeRequest(frame); err == nil || !strings.Contains(err.Error(), "url") {
		t.Errorf("got %v, want an error about url", err)
	}
}

func TestLongErrorTextIsCutToAFrameThatDecodes(t *testing.T) {
	long := strings.Repeat("ü", MaxString)
	x, err := DecodeError(AppendError(nil, &Error{Code: "c", Status: 502, Message: "m", Detail: long}))
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Detail) > MaxString || !strings.HasPrefix(long, x.Detail) || len(x.Detail) < MaxString-4 {
		t.Errorf("detail has %d bytes", len(x.Detail))
	}
}

func TestReplyIsAResponseOrAnError(t *testing.T) {
	r, err := DecodeReply(AppendResponse(nil, &Response{Status: 204}))
	if err != nil || r.Status != 204 {
		t.Errorf("got %+v, %v", r, err)
	}
	_, err = DecodeReply(AppendError(nil, &Error{Code: "x", Status: 403, Origin: OriginGrant, Message: "no"}))
	if x, ok := errors.AsType[*Error](err); !ok || x.Origin != OriginGrant || x.Status != 403 {
		t.Errorf("got %v", err)
	}
	_, err = DecodeReply(AppendMessage(nil, &Message{Kind: MessageIdle}))
	if _, ok := errors.AsType[*FrameError](err); !ok {
		t.Errorf("a message as a reply gave %v", err)
	}
}

func TestDecodedValuesDoNotShareTheFrame(t *testing.T) {
	frame := AppendRequest(nil, &Request{Method: "GET", URL: "/a", Body: []byte("body")})
	r, err := DecodeRequest(frame)
	if err != nil {
		t.Fatal(err)
	}
	clear(frame)
	if r.Method != "GET" || r.URL != "/a" || string(r.Body) != "body" {
		t.Errorf("after the frame was cleared: %+v", r)
	}
}

// The most expensive frames per byte are lists of empty strings.
func TestDecodingAllocatesAConstantFactorOfTheFrame(t *testing.T) {
	dense := AppendRequest(nil, &Request{Method: "GET", URL: "/", Host: &HostSection{
		Params: make([]Pair, MaxList), Roles: make([]string, MaxList), Teams: make([]string, MaxList),
	}})
	lying := AppendStart(nil, &Start{ABI: 1, Denied: make([]string, MaxList)})
	lying = lying[:headerSize+4+4+4+4] // the count stays, the elements go
	binary.LittleEndian.PutUint32(lying[4:], uint32(len(lying)))
	for name, frame := range map[string][]byte{"dense": dense, "lying": lying} {
		const rounds = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			_, _ = decode(frame)
		}
		runtime.ReadMemStats(&after)
		got, limit := (after.TotalAlloc-before.TotalAlloc)/rounds, uint64(8*len(frame)+4096)
		if got > limit {
			t.Errorf("%s: a frame of %d bytes allocates %d, the limit is %d", name, len(frame), got, limit)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range goldens {
		f.Add(encode(g.value))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		checkCanonical(t, frame)
		_, _ = DecodeReply(frame)
	})
}

func BenchmarkDecodeRequest(b *testing.B) {
	frame := encode(goldens[0].value)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRequest(frame); err != nil {
			b.Fatal(err)
		}
	}
}
