// Sessions uses its session as the tests ask, by words in the query: do=splice,
// do=next, do=send, do=garble, do=close, in their order.
package main

import (
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/exec"
	"github.com/seed-a3fb47d6/bulkhead/sdk/session"
)

func init() {
	session.Handle("use", use)
	sdk.Handle("ping", func(*sdk.Request) (*sdk.Response, error) { return sdk.Text(200, "pong"), nil })
}

func main() {}

func use(r *sdk.Request, s *session.Session) error {
	for _, word := range r.Values()["do"] {
		var err error
		switch word {
		case "splice":
			var stream sdk.Stream
			if stream, err = exec.Open(exec.Target{Cluster: "dev", Namespace: "shop", Pod: "web", Command: []string{"sh"}}); err != nil {
				return err
			}
			err = s.Splice(stream)
		case "next":
			_, err = s.Next(0)
		case "wait":
			_, err = s.Next(10 * time.Millisecond)
		case "send":
			err = s.SendText("sent")
		case "garble":
			err = s.Send(session.Message{Kind: session.Text, Data: []byte("\xff")})
		case "close":
			err = s.Close(1000, "closed")
		}
		if err != nil && err != session.ErrTimeout {
			println(word + ": " + err.Error())
			if err == session.ErrClosed {
				continue
			}
			if err := s.SendText(word + ": " + err.Error()); err != nil {
				return session.Done(err)
			}
		}
	}
	return nil
}
