package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

var frames = []promise{
	{"AnInboundRequestArrivesWhole", func(t *testing.T, s *subject) {
		w := s.world(t)
		many := make([]abi.Pair, abi.MaxHeaders)
		for i := range many {
			many[i] = abi.Pair{Name: fmt.Sprint("X-", i), Value: strings.Repeat("v", i)}
		}
		for _, c := range []request{
			{target: "/echo/a/b%20c?x=1&y=%ff"},
			{target: "/echo/a/ü?q=grüße", header: []abi.Pair{{Name: "Content-Type", Value: "text/plain"}, {Name: "X-Empty"}}, body: []byte("\x00\xff\r\n")},
			{target: "/echo/a/b", header: many, obligations: host.Obligations{Namespaces: []string{"shop", "bank"}, ResourceGroups: []string{"rg1"}, Redact: []string{"data"}}},
			{target: "/echo/a/b", header: []abi.Pair{{Name: "Accept", Value: strings.Repeat("a", abi.MaxString)}}, body: repeat('b', 100_000)},
		} {
			c.method = "POST"
			resp, err := w.do(t, c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := abi.DecodeRequest(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got.Host.TimeoutMS <= 0 || got.Host.TimeoutMS > 30_000 {
				t.Errorf("the time-out is %d", got.Host.TimeoutMS)
			}
			got.Host.TimeoutMS = 0
			p := w.call(t, c).Caller.Principal
			second := strings.SplitN(strings.Split(c.target, "?")[0], "/", 4)[3]
			if second == "b%20c" {
				second = "b c"
			}
			same := &abi.Request{Method: "POST", URL: c.target, Header: c.header, Body: c.body, Host: &abi.HostSection{
				RequestID: "r-1", User: "ann@example.com", Name: p.Name, Roles: p.Roles, Teams: p.Teams, Route: "echo", Action: "mine:conformance.read",
				Params:     []abi.Pair{{Name: "first", Value: "a"}, {Name: "second", Value: second}},
				Namespaces: c.obligations.Namespaces, Groups: c.obligations.ResourceGroups, Redact: c.obligations.Redact,
			}}
			if !reflect.DeepEqual(got, same) {
				t.Errorf("%s: arrived as\n%s\nwas sent\n%s", c.target, short(got.Host), short(same.Host))
			}
		}
	}},
	{"ARequestsPartsAreReadByName", func(t *testing.T, s *subject) {
		resp, err := s.world(t).do(t, request{
			method: "POST", target: "/read/one/two?a=x+y%2Fz&many=1&many=%C3%BC&bad=%zz&a=second", body: []byte("the body"),
			header:      []abi.Pair{{Name: "Content-Type", Value: "text/plain"}},
			obligations: host.Obligations{Namespaces: []string{"shop"}, ResourceGroups: []string{"rg1", "rg2"}, Redact: []string{"data"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		want(t, "what was read", string(resp.Body), strings.Join([]string{
			"POST", "/read/one/two", "a=x+y%2Fz&many=1&many=%C3%BC&bad=%zz&a=second", "x y/z", "", "1,ü",
			"text/plain", "", "one", "two", "",
			"ann@example.com", "Ann Lee ü", "editor,viewer", "ops", "read", "mine:conformance.read", "r-1",
			"shop", "rg1,rg2", "data", "some", "the body",
		}, "\n"))
	}},
	{"AResponseArrivesWhole", func(t *testing.T, s *subject) {
		w := s.world(t)
		for _, sent := range []*abi.Response{
			{Status: 200, Header: []abi.Pair{{Name: "Content-Type", Value: "text/plain"}, {Name: "X-Empty"}, {Name: "Etag", Value: `"ü"`}}, Body: []byte("\x00\xff")},
			{Status: 204},
			{Status: 599, Body: []byte("own status")},
			{Status: 200, Header: []abi.Pair{{Name: "X-Long", Value: strings.Repeat("v", abi.MaxString)}}, Body: repeat('b', 1<<20)},
		} {
			got, err := w.do(t, request{method: "POST", target: "/respond", body: abi.AppendResponse(nil, sent)})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, sent) {
				t.Errorf("arrived as %s, was sent as %s", short(got), short(sent))
			}
		}
	}},
	{"GoldenFramesHaveTheSameBytes", func(t *testing.T, s *subject) {
		checkFrames(t, s, goldens(t))
	}},
	{"EveryMutatedFrameIsReadOrRefusedAsByTheHost", func(t *testing.T, s *subject) {
		var list [][]byte
		rng := rand.New(rand.NewPCG(1, 2))
		for _, g := range goldens(t) {
			for i := range g {
				for _, v := range []byte{0, 1, 2, 5, '~', g[i] + 1, byte(rng.IntN(128))} {
					if v < 0x80 { // strings stay UTF-8
						m := bytes.Clone(g)
						m[i] = v
						list = append(list, m)
					}
				}
				cut := bytes.Clone(g[:i])
				list = append(list, bytes.Clone(cut))
				if len(cut) >= 8 {
					list = append(list, measured(cut))
				}
			}
			list = append(list, append(bytes.Clone(g), 0), measured(append(bytes.Clone(g), 0)))
		}
		checkFrames(t, s, list)
	}},
	{"LengthsAndCountsEndAtTheirLimits", func(t *testing.T, s *subject) {
		long := strings.Repeat("s", abi.MaxString)
		pairs := func(n int) []abi.Pair { return make([]abi.Pair, n) }
		var list [][]byte
		for over := range 2 {
			x := strings.Repeat("x", over)
			list = append(list,
				abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: long + x}),
				abi.AppendRequest(nil, &abi.Request{Header: pairs(abi.MaxHeaders + over)}),
				abi.AppendRequest(nil, &abi.Request{Host: &abi.HostSection{Params: pairs(abi.MaxList + over)}}),
				abi.AppendRequest(nil, &abi.Request{Host: &abi.HostSection{Teams: make([]string, abi.MaxList+over)}}),
				abi.AppendResponse(nil, &abi.Response{Status: 200, Header: pairs(abi.MaxHeaders + over)}),
				abi.AppendResponse(nil, &abi.Response{Status: 200, Header: []abi.Pair{{Name: long + x}}}),
				abi.AppendError(nil, &abi.Error{Code: long + x, Status: 400}),
				abi.AppendStart(nil, &abi.Start{Denied: make([]string, abi.MaxList+over)}),
			)
		}
		// Lengths that are claimed, without the bytes.
		for _, n := range []uint32{abi.MaxBody, abi.MaxBody + 1, 1 << 31, 1<<32 - 1} {
			m := abi.AppendMessage(nil, &abi.Message{Kind: abi.MessageText, Data: []byte("data")})
			binary.LittleEndian.PutUint32(m[9:], n)
			r := abi.AppendRequest(nil, &abi.Request{Method: "GET"})
			binary.LittleEndian.PutUint32(r[8:], n)
			h := abi.AppendResponse(nil, &abi.Response{Status: 200, Body: repeat(0, 100)})
			binary.LittleEndian.PutUint32(h[12:], n)
			list = append(list, m, r, h)
		}
		for _, status := range []int{0, 99, 100, 199, 399, 400, 599, 600, 65_936, 1 << 31} {
			list = append(list, abi.AppendResponse(nil, &abi.Response{Status: status}), abi.AppendError(nil, &abi.Error{Status: status}))
		}
		checkFrames(t, s, list)
	}},
	{"AnEntryAnswersABadFrameWithTheFieldThatIsWrong", func(t *testing.T, s *subject) {
		r := s.alone(t)
		request := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "/"})
		cut := measured(bytes.Clone(request[:15])) // the header, and "GET"
		for _, c := range []struct {
			export string
			frame  []byte
			field  string
		}{
			{abi.ExportStart, request, "kind"},
			{abi.ExportHandle, request[:7], "header"},
			{abi.ExportHandle, request, "host section"},
			{abi.ExportHandle, cut, "url"},
			{abi.ExportSession, request, "host section"},
			{abi.ExportSession, abi.AppendMessage(nil, &abi.Message{Kind: abi.MessageText}), "kind"},
		} {
			_, err := abi.DecodeReply(r.enter(t, c.export, c.frame))
			x, ok := errors.AsType[*abi.Error](err)
			if !ok || x.Status != 500 || x.Code != abi.CodeInternal || x.Origin != abi.OriginHost || !strings.Contains(x.Message, c.field) {
				t.Errorf("%s answers a frame with a bad %s with %+v", c.export, c.field, err)
			}
		}
	}},
	{"ACallOfACapabilityCrossesWhole", func(t *testing.T, s *subject) {
		w := s.world(t)
		sent := &abi.Request{
			Method: "PATCH", URL: "kube://dev/api/v1/namespaces/shop/pods/web?dryRun=All&x=%20",
			Header: []abi.Pair{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Empty"}}, Body: []byte("\x00{}\xff"),
		}
		for _, answer := range []*abi.Response{
			{Status: 200, Header: []abi.Pair{{Name: "Warning", Value: "ü"}}, Body: []byte("\x00\xff")},
			{Status: 404, Body: []byte(`{"message":"not found"}`)},
			{Status: 204},
		} {
			w.kube.answer(func(context.Context, *abi.Request) (*abi.Response, error) { return answer, nil })
			got, err := abi.DecodeReply(w.post(t, "/call", abi.AppendRequest(nil, sent)))
			if err != nil || !reflect.DeepEqual(got, answer) {
				t.Errorf("%s arrived as %s, %v", short(answer), short(got), err)
			}
			if seen := w.kube.seen(); len(seen) != 1 || !reflect.DeepEqual(seen[0], sent) {
				t.Errorf("the capability got %s", short(seen))
			}
		}
	}},
	{"ALongAnswerIsTakenAndTheCallIsMadeOnce", func(t *testing.T, s *subject) {
		w := s.world(t)
		for _, n := range []int{1 << 10, 16<<10 - 40, 16 << 10, 64 << 10, 1 << 20, abi.MaxBody - 1<<10} {
			body := repeat('a', n)
			w.kube.answer(func(context.Context, *abi.Request) (*abi.Response, error) {
				return &abi.Response{Status: 200, Body: body}, nil
			})
			got, err := abi.DecodeReply(w.post(t, "/call?again=1", podsCall))
			if err != nil || !bytes.Equal(got.Body, body) {
				t.Errorf("an answer of %d bytes arrived as %s, %v", n, short(got), err)
			}
			want(t, "the number of calls", len(w.kube.seen()), 2)
		}
	}},
}

// podsCall is a call that most promises make.
var podsCall = abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "kube://dev/api/v1/namespaces/shop/pods"})

// measured writes a frame's own length into its header.
func measured(frame []byte) []byte {
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)))
	return frame
}

// goldens are the golden frames of sdk/abi.
func goldens(t *testing.T) (list [][]byte) {
	t.Helper()
	files, err := filepath.Glob("../abi/testdata/*.hex")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden frames: %q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var digits strings.Builder
		for line := range strings.Lines(string(text)) {
			code, _, _ := strings.Cut(line, "#")
			digits.WriteString(strings.Join(strings.Fields(code), ""))
		}
		frame, err := hex.DecodeString(digits.String())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, frame)
	}
	return list
}

// checkFrames lets the plugin decode and encode frames, and compares with the host.
func checkFrames(t *testing.T, s *subject, list [][]byte) {
	t.Helper()
	var body []byte
	for _, f := range list {
		body = append(binary.LittleEndian.AppendUint32(body, uint32(len(f))), f...)
	}
	out := s.world(t).post(t, "/frames", body)
	wrong := 0
	for _, f := range list {
		if len(out) < 4 || int(binary.LittleEndian.Uint32(out)) > len(out)-4 {
			t.Fatal("the plugin answers fewer frames than it got")
		}
		n := binary.LittleEndian.Uint32(out)
		got := out[4 : 4+n]
		out = out[4+n:]
		if expected := recode(f); !bytes.Equal(got, expected) {
			if wrong++; wrong <= 5 {
				t.Errorf("%s\nis read as %s, by the host as %s", short(fmt.Sprintf("% x", f)), short(string(got)), short(string(expected)))
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d frames are read otherwise than by the host", wrong, len(list))
	}
}

// recode is what the host makes of a frame: what it encodes to again, or "!" and the
// field that is wrong.
func recode(f []byte) []byte {
	kind, err := abi.KindOf(f)
	if err == nil {
		switch kind {
		case abi.KindRequest:
			f, err = again(f, abi.DecodeRequest, abi.AppendRequest)
		case abi.KindResponse:
			f, err = again(f, abi.DecodeResponse, abi.AppendResponse)
		case abi.KindError:
			f, err = again(f, abi.DecodeError, abi.AppendError)
		case abi.KindStart:
			f, err = again(f, abi.DecodeStart, abi.AppendStart)
		case abi.KindMessage:
			f, err = again(f, abi.DecodeMessage, abi.AppendMessage)
		default:
			err = &abi.FrameError{Field: "kind"}
		}
	}
	if bad, ok := errors.AsType[*abi.FrameError](err); ok {
		return []byte("!" + bad.Field)
	}
	return f
}

func again[T any](f []byte, decode func([]byte) (*T, error), encode func([]byte, *T) []byte) ([]byte, error) {
	v, err := decode(f)
	if err != nil {
		return nil, err
	}
	return encode(nil, v), nil
}

var limits = []promise{
	{"ABodyOf8MiBArrives", func(t *testing.T, s *subject) {
		w := s.world(t)
		body := repeat('b', abi.MaxBody-1<<10)
		resp, err := w.do(t, request{method: "POST", target: "/echo/a/b", body: body})
		if err != nil {
			t.Fatal(err)
		}
		got, err := abi.DecodeRequest(resp.Body)
		if err != nil || !bytes.Equal(got.Body, body) {
			t.Errorf("arrived as %s, %v", short(got), err)
		}
		if resp, err := w.do(t, request{method: "POST", target: "/log?level=debug", body: repeat('b', abi.MaxBody)}); err != nil || resp.Status != 204 {
			t.Errorf("%v, %v", resp, err)
		}
	}},
	{"AResponseThatNoFrameHoldsIsAnErrorThatTheLogExplains", func(t *testing.T, s *subject) {
		w := s.world(t)
		for target, fits := range map[string]bool{
			fmt.Sprint("/fill?status=200&body=", abi.MaxBody):       true,
			fmt.Sprint("/fill?status=200&body=", abi.MaxBody+1):     false,
			fmt.Sprint("/fill?status=200&headers=", abi.MaxHeaders): true,
			fmt.Sprint("/fill?status=200&headers=", 257):            false,
			fmt.Sprint("/fill?status=200&value=", abi.MaxString):    true,
			fmt.Sprint("/fill?status=200&value=", abi.MaxString+1):  false,
			"/fill?status=599": true, "/fill?status=600": false, "/fill?status=199": false, "/fill?status=0": false,
		} {
			w.log.take(t)
			_, err := w.do(t, request{target: target})
			switch {
			case fits && err != nil:
				t.Errorf("%s: %v", target, err)
			case !fits && statusOf(err) != 500:
				t.Errorf("%s: %v", target, err)
			case !fits && len(atLevel(w.log.take(t), "ERROR")) == 0:
				t.Errorf("%s: the log does not say why", target)
			}
		}
	}},
	{"ACallThatNoFrameHoldsIs413AndNotMade", func(t *testing.T, s *subject) {
		w := s.world(t)
		for _, query := range []string{
			fmt.Sprint("url=", abi.MaxString), fmt.Sprint("headers=", 257), fmt.Sprint("value=", abi.MaxString+1), fmt.Sprint("body=", abi.MaxBody+1),
		} {
			_, err := abi.DecodeReply(w.post(t, "/call?"+query, podsCall))
			if x := as[*abi.Error](t, err); x.Status != 413 || x.Origin != abi.OriginPlugin {
				t.Errorf("%s: %+v", query, x)
			}
			want(t, "the number of calls with "+query, len(w.kube.seen()), 0)
		}
		got, err := abi.DecodeReply(w.post(t, fmt.Sprint("/call?body=", abi.MaxBody), podsCall))
		if err != nil || len(w.kube.seen()) != 1 || len(w.kube.seen()[0].Body) != abi.MaxBody {
			t.Errorf("%v, %v", got, err)
		}
	}},
	{"MemoryForAFrameOverTheLimitIsRefused", func(t *testing.T, s *subject) {
		r := s.alone(t)
		for _, n := range []uint64{abi.MaxFrame + 1, 1 << 31, 1<<32 - 1} {
			if at, err := r.instance.Call(t.Context(), abi.ExportAlloc, n); err != nil || at != 0 {
				t.Errorf("%d bytes: %d, %v", n, at, err)
			}
		}
		if at, err := r.instance.Call(t.Context(), abi.ExportAlloc, abi.MaxFrame); err != nil || at == 0 {
			t.Errorf("the largest frame: %d, %v", at, err)
		}
	}},
	{"ALogRecordIsCutAt8KiBAtACharacter", func(t *testing.T, s *subject) {
		w := s.world(t)
		for _, level := range []string{"debug", "info", "warn", "error"} {
			if resp, err := w.do(t, request{method: "POST", target: "/log?level=" + level, body: []byte("said " + level)}); err != nil || resp.Status != 204 {
				t.Fatalf("%v, %v", resp, err)
			}
			if got := atLevel(w.log.take(t), strings.ToUpper(level)); len(got) != 1 || got[0] != "said "+level {
				t.Errorf("%s: %q", level, got)
			}
		}
		if _, err := w.do(t, request{method: "POST", target: "/log?level=warn", body: []byte("a" + strings.Repeat("ü", 8<<10))}); err != nil {
			t.Fatal(err)
		}
		got := atLevel(w.log.take(t), "WARN")
		if len(got) != 1 || got[0] != "a"+strings.Repeat("ü", 4<<10-1) {
			t.Errorf("a long record is %s", short(got))
		}
	}},
}

// atLevel are the messages of a level.
func atLevel(list []record, level string) (messages []string) {
	for _, r := range list {
		if r.Level == level {
			messages = append(messages, r.Msg)
		}
	}
	return messages
}

var failures = []promise{
	{"AnErrorOfThePluginReachesTheClient", func(t *testing.T, s *subject) {
		w := s.world(t)
		for _, sent := range []*abi.Error{
			{Code: "own", Status: 409, Message: "a conflict", Detail: "in detail ü"},
			{Status: 422, Message: "no code"},
			{Status: 599, Message: "the last status"},
		} {
			_, err := w.do(t, request{method: "POST", target: "/fail", body: abi.AppendError(nil, sent)})
			e := as[*host.Error](t, err)
			want(t, "the status", e.HTTPStatus(), sent.Status)
			want(t, "the message", e.Message, sent.Message)
			want(t, "the detail", e.Detail, sent.Detail)
		}
	}},
	{"AStatusThatIsNoErrorBecomes500", func(t *testing.T, s *subject) {
		body := abi.AppendError(nil, &abi.Error{Status: 400, Message: "m"})
		for _, status := range []int{1, 200, 399, 600, 70_000} {
			_, err := s.world(t).do(t, request{method: "POST", target: fmt.Sprint("/fail?status=", status), body: body})
			if e := as[*host.Error](t, err); e.Status != 500 || e.Message != "m" {
				t.Errorf("%d becomes %+v", status, e)
			}
		}
	}},
	{"ARefusalSaysWhoRefused", func(t *testing.T, s *subject) {
		w := s.world(t)
		upstream := &host.Error{Kind: host.NotFound, Status: 404, Message: "no such pod", Detail: "in the cluster"}
		for _, c := range []struct {
			origin abi.Origin
			code   string
			status int
			call   []byte
			before func()
		}{
			{abi.OriginGrant, abi.CodeNotGranted, 403, abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "kube://prod/api"}), func() {}},
			{abi.OriginPolicy, abi.CodeForbidden, 403, podsCall, func() { w.allow.Store(false) }},
			{abi.OriginUpstream, abi.CodeNotFound, 404, podsCall, func() {
				w.kube.answer(func(context.Context, *abi.Request) (*abi.Response, error) { return nil, upstream })
			}},
			{abi.OriginHost, abi.CodeUnavailable, 503, podsCall, func() {
				w.kube.answer(func(context.Context, *abi.Request) (*abi.Response, error) {
					return nil, host.E(host.Unavailable, "", "later")
				})
			}},
		} {
			w.allow.Store(true)
			c.before()
			_, err := abi.DecodeReply(w.post(t, "/call", c.call))
			x := as[*abi.Error](t, err)
			if x.Origin != c.origin || x.Code != c.code || x.Status != c.status || x.Retryable != (c.status == 503) || x.Message == "" {
				t.Errorf("%v: the plugin sees %+v", c.origin, x)
			}
			// Handed on, it keeps its status, message and detail.
			_, err = w.do(t, request{method: "POST", target: "/call?pass=1", body: c.call})
			if e := as[*host.Error](t, err); e.HTTPStatus() != c.status || e.Message != x.Message || e.Detail != x.Detail {
				t.Errorf("%v: the client sees %+v, the plugin saw %+v", c.origin, e, x)
			}
		}
	}},
	{"AnOptionalCapabilityWithoutAGrantRefuses", func(t *testing.T, s *subject) {
		_, err := s.world(t).do(t, request{method: "POST", target: "/call?on=helm", body: podsCall})
		if e := as[*host.Error](t, err); e.HTTPStatus() != 403 {
			t.Errorf("%+v", e)
		}
	}},
	{"ARouteWithoutAHandlerIs404", func(t *testing.T, s *subject) {
		r := s.alone(t)
		frame := abi.AppendRequest(nil, &abi.Request{Method: "GET", URL: "/", Host: &abi.HostSection{Route: "lost"}})
		for _, export := range []string{abi.ExportHandle, abi.ExportSession} {
			_, err := abi.DecodeReply(r.enter(t, export, frame))
			if x, ok := errors.AsType[*abi.Error](err); !ok || x.Code != abi.CodeNoHandler || x.Status != 404 || !strings.Contains(x.Detail, "lost") {
				t.Errorf("%s: %+v", export, err)
			}
		}
	}},
	{"ATrapIs502AndTheNextRequestIsServed", func(t *testing.T, s *subject) {
		w := s.world(t)
		for range 2 {
			if _, err := w.do(t, request{target: "/trap"}); statusOf(err) != 502 {
				t.Errorf("a trap: %v", err)
			}
			want(t, "the count after it", w.get(t, "/count"), "101 2")
		}
		if _, err := w.do(t, request{target: fmt.Sprint("/grow?bytes=", 300<<20)}); statusOf(err) != 502 {
			t.Errorf("more memory than there is: %v", err)
		}
		want(t, "the count after it", w.get(t, "/count"), "101 2")
	}},
	{"WhatAPanicSaysIsInTheLog", func(t *testing.T, s *subject) {
		w := s.world(t)
		_, _ = w.do(t, request{target: "/trap"})
		for _, r := range w.log.take(t) {
			if strings.Contains(r.Msg, "trap was asked for") {
				return
			}
		}
		t.Error("the log does not have the panic's text")
	}},
}

var freshness = []promise{
	{"TheStartFrameArrivesWhole", func(t *testing.T, s *subject) {
		w := s.world(t)
		out := []byte(w.get(t, "/started"))
		n := binary.LittleEndian.Uint32(out)
		got, err := abi.DecodeStart(out[4 : 4+n])
		sent := &abi.Start{ABI: abi.Version, Instance: "mine", Config: []byte(`{"call": true}`), Denied: []string{"helm"}}
		if err != nil || !reflect.DeepEqual(got, sent) {
			t.Errorf("arrived as %+v, %v", got, err)
		}
	}},
	{"ACallDuringTheStartIs503", func(t *testing.T, s *subject) {
		out := []byte(s.world(t).get(t, "/started"))
		out = out[4+binary.LittleEndian.Uint32(out):]
		_, err := abi.DecodeReply(out[4:])
		if x := as[*abi.Error](t, err); x.Status != 503 || x.Origin != abi.OriginHost {
			t.Errorf("%+v", x)
		}
	}},
	{"APluginThatRefusesToStartIsNotLoaded", func(t *testing.T, s *subject) {
		_, err := s.load(t, `{"refuse": true}`, plugin.Limits{})
		if err == nil || !strings.Contains(err.Error(), "refused to start: the configuration asks to refuse") {
			t.Errorf("%v", err)
		}
	}},
	{"EveryRequestBeginsWithWhatTheStartLeft", func(t *testing.T, s *subject) {
		w := s.world(t)
		for range 5 {
			want(t, "the count", w.get(t, "/count"), "101 2")
		}
		want(t, "what was grown", w.get(t, fmt.Sprint("/grow?bytes=", 20<<20)), fmt.Sprint(20<<20))
		want(t, "the count after memory grew", w.get(t, "/count"), "101 2")
	}},
	{"ClockAndRandomNumbersAreLive", func(t *testing.T, s *subject) {
		w := s.world(t)
		seen, last := map[string]bool{}, time.Now().UnixNano()
		for range 5 {
			var now int64
			var random string
			if _, err := fmt.Sscan(w.get(t, "/live"), &now, &random); err != nil {
				t.Fatal(err)
			}
			if now < last || now > time.Now().UnixNano() || len(random) != 32 || seen[random] {
				t.Errorf("time %d after %d, random %s", now, last, random)
			}
			seen[random], last = true, now
		}
	}},
}

var cancellation = []promise{
	{"AGuestThatComputesIsStoppedAtItsDeadline", func(t *testing.T, s *subject) {
		w := s.world(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := w.plugin.Handle(ctx, w.call(t, request{target: "/spin"})); statusOf(err) != 504 {
			t.Errorf("%v", err)
		}
		want(t, "the count after it", w.get(t, "/count"), "101 2")
	}},
	{"AGuestThatSpendsItsFuelIs502", func(t *testing.T, s *subject) {
		w, err := s.load(t, `{}`, plugin.Limits{Fuel: 5_000_000})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.do(t, request{target: "/spin"}); statusOf(err) != 502 {
			t.Errorf("%v", err)
		}
		want(t, "the count after it", w.get(t, "/count"), "101 2")
	}},
	{"ALogoutEndsACallAndNothingFollowsIt", func(t *testing.T, s *subject) {
		w := s.world(t)
		auth := &authority{}
		w.kube.answer(func(context.Context, *abi.Request) (*abi.Response, error) {
			auth.lose(host.ErrLoggedOut)
			return &abi.Response{Status: 200}, nil
		})
		_, err := w.do(t, request{method: "POST", target: "/call?again=1", body: podsCall, authority: auth})
		if !errors.Is(err, host.ErrLoggedOut) {
			t.Errorf("%v", err)
		}
		want(t, "the number of calls", len(w.kube.seen()), 1)
	}},
	{"ACancelledCallOfACapabilityEndsTheGuest", func(t *testing.T, s *subject) {
		w := s.world(t)
		ctx, cancel := ending(t)
		w.kube.answer(func(ctx context.Context, _ *abi.Request) (*abi.Response, error) {
			cancel(host.ErrRevoked)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		_, err := w.plugin.Handle(ctx, w.call(t, request{method: "POST", target: "/call?again=1", body: podsCall}))
		if !errors.Is(err, host.ErrRevoked) {
			t.Errorf("%v", err)
		}
		want(t, "the number of calls", len(w.kube.seen()), 1)
		w.kube.answer(nil)
		want(t, "the count after it", w.get(t, "/count"), "101 2")
	}},
}
