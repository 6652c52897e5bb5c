// Echo is a plugin without capabilities: it answers with what it was asked,
// and misbehaves on request, so that what the host does about that can be seen.
package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() {
	sdk.Handle("echo", echo)
	sdk.Handle("echo-get", echo)
	sdk.Handle("spin", spin)
	sdk.Handle("sleep", sleep)
	sdk.Handle("trap", trap)
	session.Handle("ticks", ticks)
	session.Handle("chat", chat)
}

func main() {}

const textPlain = "text/plain; charset=utf-8"

// echo answers one line "name: value" for each thing it was told, then an empty
// line and the body.
func echo(r *sdk.Request) (*sdk.Response, error) {
	lines := [...][2]string{
		{"method: ", r.Method()},
		{"path: ", r.Path()},
		{"query: ", r.RawQuery()},
		{"user: ", r.User()},
		{"action: ", r.Action()},
	}
	size := 1 + len(r.Body())
	for _, l := range lines {
		size += len(l[0]) + len(l[1]) + 1
	}
	out := make([]byte, 0, size)
	for _, l := range lines {
		out = append(append(append(out, l[0]...), l[1]...), '\n')
	}
	out = append(append(out, '\n'), r.Body()...)
	return sdk.Bytes(200, textPlain, out), nil
}

// turns makes the loop of spin one that the compiler has to run.
var turns uint64

// spin never returns by itself.
func spin(*sdk.Request) (*sdk.Response, error) {
	for {
		turns++
	}
}

const maxSleep = 10 * time.Minute

// sleep waits for ?ms= milliseconds.
func sleep(r *sdk.Request) (*sdk.Response, error) {
	if r.Query("ms") == "" {
		return nil, sdk.Errorf(400, "ms is required")
	}
	ms, err := r.Int("ms", 0, 0, int(maxSleep/time.Millisecond))
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return sdk.Text(200, "slept "+strconv.Itoa(ms)+" ms\n"), nil
}

func trap(*sdk.Request) (*sdk.Response, error) { panic("trap was asked for") }

// ticks counts up, ten times a second, to ?n= or for as long as somebody
// listens.
func ticks(r *sdk.Request, s *session.Session) error {
	last := -1
	if text := r.Query("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return sdk.Errorf(400, "n must be a number, 0 or more")
		}
		last = n
	}
	for n := 0; n != last; n++ {
		if err := s.SendText(strconv.Itoa(n)); err != nil {
			return session.Done(err)
		}
		if _, err := s.Next(100 * time.Millisecond); err != session.ErrTimeout {
			return session.Done(err)
		}
	}
	return nil
}

// chat sends every message back, closes when it reads "bye" or "close CODE", and
// fails when it reads "fail" or "fail STATUS".
func chat(_ *sdk.Request, s *session.Session) error {
	for {
		m, err := s.Next(0)
		if err != nil {
			return session.Done(err)
		}
		if m.Kind == session.Text {
			word, text, _ := strings.Cut(string(m.Data), " ")
			n, err := strconv.Atoi(text)
			switch {
			case word == "bye" && text == "":
				return session.Done(s.Close(1000, "bye"))
			case word == "close" && err == nil:
				return session.Done(s.Close(n, "asked for"))
			case word == "fail" && text == "":
				return sdk.Errorf(500, "failure was asked for")
			case word == "fail" && err == nil:
				return sdk.Errorf(n, "failure was asked for")
			}
		}
		if err := s.Send(m); err != nil {
			return session.Done(err)
		}
	}
}
