package main

import (
	_ "embed"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

//go:embed manifest.json
var manifest string

func TestEchoAnswersWhatItWasAsked(t *testing.T) {
	h := sdktest.New(t, manifest)
	for _, c := range []struct{ method, body, want string }{
		{"POST", "a\nb", "method: POST\npath: /echo\nquery: x=1&y\nuser: bob@example.com\naction: echo:echo.read\n\na\nb"},
		{"GET", "", "method: GET\npath: /echo\nquery: x=1&y\nuser: bob@example.com\naction: echo:echo.read\n\n"},
	} {
		resp := h.Do(sdktest.Request{Method: c.method, Path: "/echo?x=1&y", Body: c.body, User: "bob@example.com"})
		if resp.Status != 200 || resp.Text() != c.want {
			t.Errorf("%s: got %d\n%s\nwant\n%s", c.method, resp.Status, resp.Text(), c.want)
		}
	}
}

func TestSleepRefusesWhatIsNoTime(t *testing.T) {
	h := sdktest.New(t, manifest)
	for _, query := range []string{"", "?ms=", "?ms=soon", "?ms=-1", "?ms=600001"} {
		if resp := h.Do(sdktest.Request{Path: "/sleep" + query}); resp.Status != 400 {
			t.Errorf("%q: got %d %s", query, resp.Status, resp.Text())
		}
	}
	if resp := h.Do(sdktest.Request{Path: "/sleep?ms=1"}); resp.Status != 200 || resp.Text() != "slept 1 ms\n" {
		t.Errorf("got %d %s", resp.Status, resp.Text())
	}
}

func TestTrapIsTheHostsFailureToTheClient(t *testing.T) {
	h := sdktest.New(t, manifest)
	resp := h.Do(sdktest.Request{Path: "/trap"})
	if resp.Status != 502 || resp.Err == nil || resp.Err.Code != abi.CodeTrap {
		t.Errorf("got %d %+v", resp.Status, resp.Err)
	}
	if resp := h.Do(sdktest.Request{Path: "/echo"}); resp.Status != 200 {
		t.Errorf("the next request got %d", resp.Status)
	}
}

func TestChatEchoesUntilBye(t *testing.T) {
	h := sdktest.New(t, manifest)
	out := h.Session(sdktest.Request{Path: "/"},
		sdktest.Text("hello"), sdktest.Binary([]byte{0, 255}), sdktest.Text("bye"), sdktest.Text("never read"))
	if len(out.Sent) != 2 || string(out.Sent[0].Data) != "hello" || out.Sent[1].Kind != abi.MessageBinary {
		t.Errorf("sent %q", out.Sent)
	}
	if out.CloseCode != 1000 || out.CloseReason != "bye" {
		t.Errorf("closed with %d %q", out.CloseCode, out.CloseReason)
	}
}

func TestChatEndsWhenTheClientGoes(t *testing.T) {
	h := sdktest.New(t, manifest)
	out := h.Session(sdktest.Request{Path: "/"}, sdktest.Text("hello"))
	if !out.Accepted || out.Response != nil || out.CloseCode != 0 || len(out.Sent) != 1 {
		t.Errorf("got %+v", out)
	}
}
