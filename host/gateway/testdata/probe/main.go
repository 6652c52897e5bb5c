// Probe answers as the gateway's tests ask.
package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() {
	sdk.Handle("answer", answer)
	sdk.Handle("seen", seen)
	sdk.Handle("take", take)
	sdk.Handle("change", change)
	sdk.Handle("item", take)
	sdk.Handle("item-get", answer)
	session.Handle("ticks", ticks)
	session.Handle("chat", chat)
}

func main() {}

// answer has the status, the body and the headers ("Name: value") of the query.
func answer(r *sdk.Request) (*sdk.Response, error) {
	status, err := strconv.Atoi(r.Query("status"))
	if err != nil {
		return nil, sdk.Errorf(400, "status is no number")
	}
	resp := &sdk.Response{Status: status, Body: []byte(r.Query("body"))}
	for _, h := range r.Values()["header"] {
		name, value, _ := strings.Cut(h, ": ")
		resp.With(name, value)
	}
	return resp, nil
}

// seen lists the headers of the query as the plugin sees them.
func seen(r *sdk.Request) (*sdk.Response, error) {
	var out strings.Builder
	for _, name := range r.Values()["name"] {
		out.WriteString(name + ": " + r.Header(name) + "\n")
	}
	return sdk.Text(200, r.Method()+"\n"+out.String()), nil
}

// take takes ?ms= milliseconds, too.
func take(r *sdk.Request) (*sdk.Response, error) {
	ms, _ := strconv.Atoi(r.Query("ms"))
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return sdk.Text(200, "got "+strconv.Itoa(len(r.Body()))), nil
}

// change says in the log that it begins and that it is done.
func change(r *sdk.Request) (*sdk.Response, error) {
	println("the change begins")
	time.Sleep(300 * time.Millisecond)
	println("the change is done")
	return sdk.NoContent(), nil
}

func ticks(r *sdk.Request, s *session.Session) error {
	for n := 0; ; n++ {
		if err := s.SendText(strconv.Itoa(n)); err != nil {
			return session.Done(err)
		}
		if _, err := s.Next(10 * time.Millisecond); err != session.ErrTimeout {
			return session.Done(err)
		}
	}
}

// chat sends every message back; "text HEX" becomes a text message of those bytes.
func chat(_ *sdk.Request, s *session.Session) error {
	for {
		m, err := s.Next(0)
		if err != nil {
			return session.Done(err)
		}
		if text, ok := strings.CutPrefix(string(m.Data), "raw "); ok {
			raw, err := strconv.Unquote(text)
			if err != nil {
				return err
			}
			if err := s.Send(session.Message{Kind: session.Text, Data: []byte(raw)}); err != nil {
				return s.SendText("refused: " + err.Error())
			}
			continue
		}
		if err := s.Send(m); err != nil {
			return session.Done(err)
		}
	}
}
